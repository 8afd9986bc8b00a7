"""The HTTP side of vmferryd: listeners, who is calling, routes, and what is shown."""
