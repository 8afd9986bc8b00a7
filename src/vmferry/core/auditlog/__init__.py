"""The audit log as values: its records and their hash chain."""
