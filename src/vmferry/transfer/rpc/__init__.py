"""The libvirt calls of a migration, parsed and judged message by message: the security boundary of an incoming move."""
