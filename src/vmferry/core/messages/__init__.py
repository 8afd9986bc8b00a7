"""The values that cross between hosts, and between vmferryd and its clients."""
