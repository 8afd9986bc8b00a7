"""The disks of a move: created on the destination, copied or compared, and removed from the source."""
