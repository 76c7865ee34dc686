"""Every way in which a provider fails, through HTTP and real processes: what the caller gets, what the provider sees."""
