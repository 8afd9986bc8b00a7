"""vmferryd: the API, pairing, jobs and their events."""
