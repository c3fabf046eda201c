"""The program: the only place that knows libraries and wires things together."""

__version__ = "0.1.0"
