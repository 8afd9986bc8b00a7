"""What outlives every process: peers, invitations, jobs and journal, settings; one SQLite file."""
