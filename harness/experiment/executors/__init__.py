"""Ways to run many independent tasks."""
