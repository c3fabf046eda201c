"""What can be declared: a pydantic model per kind, and the admission that decodes, defaults and validates. No I/O."""
