"""The other commands, one module a noun."""
