"""What may not leave the company: personal data and forbidden words. Pure: no I/O, no clock but today's date."""
