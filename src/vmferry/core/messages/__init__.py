"""The messages between hosts, and between vmferryd and its clients."""
