"""``wonrouter doctor``: looks at an installation from outside and says what is not as it should be, and what to do."""
