"""The lab's VMs: create them, watch them from outside, and move them in a demonstration."""
