"""The worker of one end of one move: `vmferry-transfer JOB`."""
