"""PostgreSQL: connections, tables, migrations, roles."""
