"""Addresses, sockets and time limits: what the daemon and the workers share of the network."""
