"""The command line: one module a noun; a thin client of the API."""
