"""Names of images."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.errors import Invalid
from state.references import familiar, normalise, parse

DIGEST = "sha256:" + "a1" * 32


@pytest.mark.parametrize(
    ("text", "full", "short"),
    [
        ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
        ("docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("index.docker.io/library/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("prom/node-exporter:v1", "docker.io/prom/node-exporter:v1", "prom/node-exporter:v1"),
        ("docker.io/library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
        ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
        ("localhost:5000/x:y", "localhost:5000/x:y", "localhost:5000/x:y"),
        ("127.0.0.1:5000/a/b", "127.0.0.1:5000/a/b:latest", "127.0.0.1:5000/a/b:latest"),
        ("[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a:latest"),
        ("ghcr.io/Owner/x".lower(), "ghcr.io/owner/x:latest", "ghcr.io/owner/x:latest"),
        ("HOST/x", "HOST/x:latest", "HOST/x:latest"),
        (f"busybox@{DIGEST}", f"docker.io/library/busybox@{DIGEST}", f"busybox@{DIGEST}"),
        (f"quay.io/a/b:v1@{DIGEST}", f"quay.io/a/b@{DIGEST}", f"quay.io/a/b:v1@{DIGEST}"),
        ("a__b--c-d/e", "docker.io/a__b--c-d/e:latest", None),
        ("x:" + "t" * 128, "docker.io/library/x:" + "t" * 128, None),
    ],
)
def test_spellings(text: str, full: str, short: str | None) -> None:
    assert normalise(text) == full
    assert normalise(full) == full
    if short is not None:
        assert familiar(text) == short
        assert normalise(short) == full


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "needs a name"),
        ("Busybox", "did you mean 'busybox'"),
        ("a" * 64, "bare id"),
        ("https://quay.io/x", "without"),
        ("docker://x", "without"),
        ("x@sha256:abc", "no digest"),
        ("x@", "no digest"),
        ("x@md5:" + "a" * 32, "no digest"),
        ("x:", "no tag"),
        ("x:" + "t" * 129, "no tag"),
        ("x:a b", "no tag"),
        ("x:.dot", "no tag"),
        ("../x", "host name"),
        ("quay.io/../x", "repository name"),
        ("quay.io//x", "repository name"),
        ("quay.io/", "repository name"),
        ("/x", "repository name"),
        ("x_", "repository name"),
        ("x\n", "repository name"),
        ("x:latest\n", "no tag"),
        ("quay.io/" + "a" * 250, "longer than"),
        ("bücher", "repository name"),
        ("host_.io/x", "host name"),
    ],
)
def test_refusals_say_why(text: str, says: str) -> None:
    with pytest.raises(Invalid, match=says):
        parse(text)
    assert familiar(text) == text


def test_pin_drops_the_tag() -> None:
    assert str(parse("x:1").with_digest(DIGEST)) == f"docker.io/library/x@{DIGEST}"


@given(st.text(max_size=40))
def test_normalising_is_idempotent_or_refused(text: str) -> None:
    try:
        once = normalise(text)
    except Invalid:
        return
    assert normalise(once) == once
    assert normalise(familiar(once)) == once
