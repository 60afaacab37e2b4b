"""What attackers end up with, judged: pure functions of tensors."""
