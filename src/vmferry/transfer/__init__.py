"""The worker: carries one job's bytes between local unix sockets and the peer's worker, and calls libvirt for it."""
