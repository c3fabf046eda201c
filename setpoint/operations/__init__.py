"""What the agent does beyond reconciling: the implementations of ``setpoint.api.operations``."""
