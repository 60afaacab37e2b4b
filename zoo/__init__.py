"""Which models there are, and getting them."""
