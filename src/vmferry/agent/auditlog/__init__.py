"""The file of the audit log, and its comparison with other hosts."""
