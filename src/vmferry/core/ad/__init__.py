"""Active Directory as values: delegation, security descriptors, PACs and keytabs."""
