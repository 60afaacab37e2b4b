"""What a model's answers say of it where nobody has the model: from two files of probabilities."""
