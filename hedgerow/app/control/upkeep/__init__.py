"""Regular work: backups, certificates, calendars, the check of safe search, and the journal when control starts."""
