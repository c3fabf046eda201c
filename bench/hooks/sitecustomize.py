"""Found on PYTHONPATH by an agent that the bench profiles: what its main thread does from start to end, as cProfile tells."""

import atexit
import os
import sys

_folder = os.environ.get("SETPOINT_BENCH_PROFILE", "")
if _folder and "agent" in sys.orig_argv:
    import cProfile

    _profile = cProfile.Profile()
    _profile.enable()

    def _dump() -> None:
        _profile.disable()
        os.makedirs(_folder, exist_ok=True)
        _profile.dump_stats(os.path.join(_folder, f"agent-{os.getpid()}.prof"))

    atexit.register(_dump)
