"""What all commands share: the client, output, progress, completion and secrets."""
