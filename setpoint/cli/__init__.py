"""The command line: a client of the API and nothing more. Heavy imports wait for the verb that needs them."""
