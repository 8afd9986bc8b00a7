"""The persistent state: peers, invitations, jobs and journal, settings, in one SQLite file."""
