"""Interactive streams between the API and containers: exec over FIFOs of our own, attach over the keeper's pump."""
