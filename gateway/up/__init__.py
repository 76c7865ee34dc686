"""`wonrouter up`: the whole installation on one machine, started, watched and stopped by one process."""
