"""The lab's VMs: made, watched from outside, and moved to show what vmferry does."""
