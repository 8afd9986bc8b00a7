"""Other hosts: pairing, the site, and signing in at them for a user."""
