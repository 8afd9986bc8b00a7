"""The only place that imports libvirt: VMs, their disks, and the migration call itself."""
