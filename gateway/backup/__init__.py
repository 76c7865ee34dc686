"""The database into one file and back, with PostgreSQL's own programs.

Redis is not in it: the credit window is built anew from the books. Neither is ``WONROUTER_SECRET``, without which the
provider keys in it do not open: a thief of the file has no keys, and its owner must keep the secret elsewhere.
"""
