"""Stored interactions as a static site."""
