"""What happens to answers and to won when something dies: processes are really killed, connections really cut."""
