"""Settings of an organisation and of one's own account: a page for each, with what its reader may do."""
