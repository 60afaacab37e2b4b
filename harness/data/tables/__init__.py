"""Tables that people bring: what a description says of one, and the cells behind it."""
