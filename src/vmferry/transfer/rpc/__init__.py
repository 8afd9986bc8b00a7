"""The libvirt calls of a migration, read and judged message by message: the security boundary of an incoming move."""
