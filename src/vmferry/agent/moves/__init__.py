"""Moves as far as vmferryd takes them: precheck, offer, queue, admission, and their ends."""
