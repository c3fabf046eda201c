"""Side by side with dockerd and bare containerd, in one interleaved run. ``python -m bench --help``.

Not part of the wheel. Ratios travel between machines, absolute times do not: only ratios may be quoted.
"""
