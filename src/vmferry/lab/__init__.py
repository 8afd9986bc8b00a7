"""Real hosts on one machine, in namespaces: to try vmferry without servers, and to test it on the real thing."""
