"""Tables as SQLAlchemy Core objects, one file per room. Migrations create them; nothing calls ``create_all``."""
