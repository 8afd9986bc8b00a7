"""Checks of the two hosts, and of what is between them."""
