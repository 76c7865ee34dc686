"""Which deployment a call goes to, and what happens when it fails.

`candidates`, `preferences`, `policy` and `choose` are pure; `turns` asks Redis, which all workers share.
"""
