"""Training networks, with no attack and no defense in it."""
