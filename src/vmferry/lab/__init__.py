"""Test hosts on one machine, in namespaces, with libvirt and QEMU: to try vmferry and to test it."""
