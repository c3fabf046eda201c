"""Files of the tree that are made from the models: CRDs and the API reference. ``python -m setpoint.generate [--check]``."""
