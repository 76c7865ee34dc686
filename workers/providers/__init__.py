"""One adapter per wire dialect, sans I/O: bytes in, events out. `base.py` is the protocol, `dialects.py` the table."""
