"""The wheel, not the checkout: what is in it, and that the unit tests pass against it in an environment of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOT_IN_UNIT = "not containerd and not kernel and not vm"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("wheel")
    argv = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    built = subprocess.run(argv, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = folder.glob("*.whl")
    yield path
    shutil.rmtree(folder, ignore_errors=True)


def test_it_holds_three_packages_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"controllers", "setpoint", "state"}
    assert {f"{package}/py.typed" for package in ("controllers", "setpoint", "state")} <= set(names)
    assert not [name for name in names if "/tests/" in name or name.endswith((".pyc", ".yaml"))]


@pytest.mark.timeout(300)
def test_the_unit_tests_pass_against_it(wheel: Path, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    python = venv / "bin" / "python"
    site = next((venv / "lib").glob("python*")) / "site-packages"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    # The dependencies of the environment that runs us; its .pth files, and so the editable checkout, are not read through ours.
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    where = subprocess.run(
        [
            str(python),
            "-I",
            "-c",
            "import setpoint, state, controllers; print(setpoint.__file__, state.__file__, controllers.__file__)",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(path.startswith(str(venv)) for path in where.stdout.split())
    argv = [
        str(python),
        "-I",
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-m",
        NOT_IN_UNIT,
        "-c",
        str(ROOT / "pyproject.toml"),
    ]
    ran = subprocess.run(
        [*argv, "--rootdir", str(ROOT), str(ROOT / "tests" / "unit")], capture_output=True, text=True, cwd=tmp_path
    )
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]
