"""vmferry moves running virtual machines between standalone KVM hosts."""

__version__ = "0.1.0"
