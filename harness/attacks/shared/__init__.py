"""What several attacks are built from."""
