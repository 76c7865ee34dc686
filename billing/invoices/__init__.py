"""A month's usage as an invoice: sums, dates, numbers, and the document that a customer receives."""
