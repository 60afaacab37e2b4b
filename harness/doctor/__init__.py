"""Whether every registered method does what the harness expects of it, tried on tiny models."""
