"""From a request to stored evaluations."""
