"""The console: pages for people, rendered here, over the same services as the management API.

Every page works without JavaScript. All texts stand in ``texts/``, in Korean and English.
"""

BASE = "/console"
