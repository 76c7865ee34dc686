"""Files for finance staff: settlement, usage detail, tax-invoice upload, journal."""
