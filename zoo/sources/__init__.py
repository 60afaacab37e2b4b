"""Where weights come from: one module per kind of source."""
