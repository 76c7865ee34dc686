"""What an invoice says: its sums, its parties and dates, the document in HTML and PDF. Pure but for reading the books."""
