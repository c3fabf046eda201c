"""The libraries and the kernel behind the ports: translate types and errors, decide nothing."""
