"""Finance: months and their documents, files, payments, provider statements, the invariants of the books."""
