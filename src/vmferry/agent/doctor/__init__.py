"""`vmferry doctor` as vmferryd does it."""
