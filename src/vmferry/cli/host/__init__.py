"""`vmferry host`: this host, its settings, and the hosts it knows."""
