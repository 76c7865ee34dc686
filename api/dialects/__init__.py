"""Client bodies to what the core works with."""
