"""What is done to models, and what is measured."""
