"""Checks of the VM, its devices and its storage."""
