"""What finance looks at: months, documents, payments, rates, checks of the books. SELECT only, as the front end's role."""
