"""One module per provider API. A dialect turns a request into a `Plan` (plan.py); it knows nothing of sockets or time."""
