"""Which text of runc, crun, shim or containerd stands for which failure."""

from __future__ import annotations

import pytest

from controllers.container.ports import StartFailed
from setpoint.drivers.containerd.failures import brief, read, start_failed
from state.errors import AlreadyExists, Busy, InDoubt, NotFound, StateError, Unavailable

NO_LOG = (
    "failed to create shim task: OCI runtime create failed: unable to retrieve OCI runtime error "
    "(open /s/log.json: no such file or directory): "
)
MOUNT = "error during container init: error mounting"
CREATE = "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: "
OLD = "OCI runtime create failed: container_linux.go:380: starting container process caused: "

TEXTS = [
    pytest.param(CREATE + 'exec: "nope": executable file not found in $PATH: unknown', 127, "", id="path"),
    pytest.param(CREATE + 'exec: "./x/y": stat ./x/y: no such file or directory: unknown', 127, "", id="relative"),
    pytest.param(CREATE + 'exec: "/etc/passwd": permission denied: unknown', 126, "", id="mode"),
    pytest.param(CREATE + 'exec: "/etc": is a directory', 126, "", id="folder"),
    pytest.param(OLD + 'exec: "nope": executable file not found in $PATH: unknown', 127, "", id="runc-1.0"),
    pytest.param(
        "OCI runtime exec failed: exec failed: unable to start container process: "
        'exec: "zz": executable file not found in $PATH',
        127,
        "",
        id="exec",
    ),
    pytest.param(
        "OCI runtime create failed: executable file `nope` not found in $PATH: No such file or directory", 127, "", id="crun"
    ),
    pytest.param("OCI runtime create failed: open executable: Permission denied: unknown", 126, "", id="crun-mode"),
    pytest.param(
        CREATE + MOUNT + ' "/srv/a" to rootfs at "/x": stat /srv/a: no such file or directory',
        128,
        "/srv/a",
        id="bind",
    ),
    pytest.param("OCI runtime create failed: cannot stat `/srv/a`: No such file or directory", 128, "/srv/a", id="crun-bind"),
    pytest.param(
        "failed to create shim task: OCI runtime create failed: runc create failed: unable to create new parent process: "
        "namespace path: lstat /run/x/netns/u: no such file or directory: unknown",
        128,
        "/run/x/netns/u",
        id="namespace",
    ),
    pytest.param(
        NO_LOG + "fork/exec /opt/crun: no such file or directory: unknown",
        128,
        "/opt/crun",
        id="runtime-path",
    ),
    pytest.param(
        NO_LOG + 'exec: "crun": executable file not found in $PATH: unknown',
        128,
        "crun",
        id="runtime-name",
    ),
    pytest.param(
        'failed to start shim: failed to resolve runtime path: runtime "io.containerd.kata.v2" binary not installed '
        '"containerd-shim-kata-v2": file does not exist: not found',
        128,
        "io.containerd.kata.v2",
        id="shim",
    ),
    pytest.param(
        CREATE
        + 'error mounting "/tmp" to rootfs at "/etc/passwd/x": open o_path procfd: open /r/etc/passwd/x: not a directory',
        128,
        "",
        id="bad-target",
    ),
    pytest.param(
        NO_LOG + "/bin/false did not terminate successfully: exit status 1",
        128,
        "",
        id="broken-runtime",
    ),
    pytest.param("something new under the sun", 128, "", id="anything"),
]


@pytest.mark.parametrize(("text", "code", "missing"), TEXTS)
def test_text(text: str, code: int, missing: str) -> None:
    failed = read(text)
    assert (failed.code, failed.missing) == (code, missing)
    assert failed.message
    assert "unknown" not in failed.message


def test_brief_leaves_out_who_told_whom() -> None:
    assert brief(CREATE + 'exec: "nope": executable file not found in $PATH: unknown') == (
        'exec: "nope": executable file not found in $PATH'
    )
    assert brief("plain") == "plain"


@pytest.mark.parametrize("error", [InDoubt("x"), Unavailable("x"), Busy("x"), AlreadyExists("x")], ids=lambda e: e.reason)
def test_what_says_nothing_about_the_process_stays_as_it_is(error: StateError) -> None:
    assert start_failed(error) is error


def test_a_missing_record_is_no_failed_start() -> None:
    error = NotFound('container "x" in namespace "setpoint": not found')
    assert start_failed(error) is error


def test_a_missing_shim_is_one() -> None:
    failed = start_failed(NotFound('runtime "io.containerd.kata.v2" binary not installed'))
    assert isinstance(failed, StartFailed)
    assert failed.missing == "io.containerd.kata.v2"
