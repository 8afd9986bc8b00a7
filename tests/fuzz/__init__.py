"""Every parser that reads what another host sends, against inputs that no host would send."""
