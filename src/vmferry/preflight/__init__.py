"""The checks before a move: pure functions over what was seen of the VM and of both hosts."""
