"""From stored evaluations to effects, intervals and verdicts. Pure: reads no file."""
