"""The contract of vmferryd and the workers: what a job is to do, how the two talk, and what was decided."""
