"""libvirt's documents: domain XML and capabilities, and what a host lets a VM from another host have."""
