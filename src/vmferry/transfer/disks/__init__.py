"""Disks of a move: made at the destination, copied or compared, and removed at the source."""
