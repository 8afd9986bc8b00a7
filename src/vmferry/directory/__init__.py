"""The domain's directory: reads and changes delegations over LDAP (Active Directory of Windows or Samba)."""
