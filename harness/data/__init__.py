"""Datasets: what examples there are, and who holds which."""
