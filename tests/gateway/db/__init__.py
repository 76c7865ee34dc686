"""Tables, grants, seed data, the stored catalogue."""
