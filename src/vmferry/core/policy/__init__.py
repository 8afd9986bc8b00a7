"""What an administrator sets, and the rules that follow: networks, restrictions, simultaneous moves."""
