"""``python -m setpoint.keeper``: the keeper without the rest of the command line, whose libraries it has no use for."""

from __future__ import annotations

import sys

from setpoint.keeper.main import main

sys.exit(main(sys.argv[1:]))
