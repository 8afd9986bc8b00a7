"""Values and rules: no I/O, no clocks, no libvirt; everything above imports this and nothing here imports back."""
