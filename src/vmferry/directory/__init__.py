"""The domain's directory: who may act for whom, read and changed over LDAP (Active Directory, Samba's or Windows')."""
