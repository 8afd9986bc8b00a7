"""The checks of `vmferry doctor`, over what was seen of one host (health.py); pair.py: of two."""
