"""Which deployment a call goes to, and what happens when it fails. Pure: no I/O, no clock but the caller's."""
