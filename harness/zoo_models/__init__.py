"""What zoo's commands ask of the harness: models trained here, and their check."""
