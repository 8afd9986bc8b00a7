"""Disk images and the files they are made of: who uses them, and what they hold."""
