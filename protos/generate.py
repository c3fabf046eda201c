"""Generate ``setpoint/_pb`` from the ``.proto`` files beside this script; with ``--check``, only compare.

The files import each other below ``setpoint/_pb/``: containerd's own ``types/...`` layout would make the generated code
import the standard library's ``types``. The services live in the descriptors;
:mod:`setpoint.drivers.containerd.rpc` names the calls that are used, with their types.
"""

from __future__ import annotations

import argparse
import filecmp
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parent
ROOT = PROTOS.parent
PACKAGE = Path("setpoint/_pb")
DOCSTRING = '"""Generated from ``protos/`` by ``protos/generate.py``; never edited."""\n'


def generate(root: Path) -> Path:
    """Writes the package below ``root`` and returns its folder."""
    folder = root / PACKAGE
    folder.mkdir(parents=True, exist_ok=True)
    sources = sorted(str(PACKAGE / path.name) for path in PROTOS.glob("*.proto"))
    well_known = str(Path(protoc.__file__).parent / "_proto")
    options = [f"-I{PACKAGE}={PROTOS}", f"-I{well_known}"]
    outputs = [f"--python_out={root}", f"--pyi_out={root}"]
    if protoc.main(["protoc", *options, *outputs, *sources]) != 0:
        raise SystemExit("protoc failed")
    (folder / "__init__.py").write_text(DOCSTRING)
    return folder


def differences(fresh: Path, kept: Path) -> list[str]:
    """Names of generated files that differ, are missing or are left over."""
    names = {path.name for folder in (fresh, kept) for path in folder.glob("*.py*") if path.suffix in {".py", ".pyi"}}
    same, _, _ = filecmp.cmpfiles(fresh, kept, sorted(names), shallow=False)
    return sorted(names - set(same))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if the generated files are not up to date")
    if not parser.parse_args().check:
        generate(ROOT)
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        stale = differences(generate(Path(scratch)), ROOT / PACKAGE)
    for name in stale:
        sys.stderr.write(f"{PACKAGE / name} is not what protos/ generates: run protos/generate.py\n")
    return 1 if stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
