"""The checks before a move: pure functions of the state of the VM and of both hosts."""
