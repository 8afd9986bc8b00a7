"""Carries frames between two workers: TCP connections, with or without TLS. Knows no VM and no libvirt."""
