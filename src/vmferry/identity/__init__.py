"""Who is asking: host certificates, pairing, the peer client, and who may do what."""
