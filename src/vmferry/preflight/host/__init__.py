"""Checks of the two hosts, and of the network between them."""
