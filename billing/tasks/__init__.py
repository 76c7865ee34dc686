"""What the front end asked for (``gateway.tasks``), done here: claimed under a lease, as the person who asked."""
