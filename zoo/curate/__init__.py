"""What a curator runs to bring the annotation files up to date with what they are read from."""
