"""Who the process is."""

from __future__ import annotations

from typing import Any

import pytest

from controllers.container.oci import build
from controllers.container.oci.user import parse_group, parse_passwd
from state.errors import Invalid


@pytest.mark.parametrize(
    ("security", "of_image", "uid", "gid", "groups"),
    [
        pytest.param({}, "", 0, 0, [0], id="root"),
        pytest.param({}, "web", 1000, 1001, [1001, 2000, 44], id="image's name with its groups"),
        pytest.param({}, "1000", 1000, 1001, [1001, 2000, 44], id="image's number that has a line"),
        pytest.param({}, "4711", 4711, 0, [0], id="image's number without a line"),
        pytest.param({}, "web:logs", 1000, 2000, [2000], id="explicit group switches memberships off"),
        pytest.param({}, "web:9", 1000, 9, [9], id="explicit numeric group"),
        pytest.param({}, ":logs", 0, 2000, [2000], id="group only"),
        pytest.param({}, "1234", 77, 77, [77], id="a name of digits wins over a number"),
        pytest.param({"user": "web"}, "root", 1000, 1001, [1001, 2000, 44], id="declared name"),
        pytest.param({"user": "web:video"}, "", 1000, 44, [44], id="declared name and group"),
        pytest.param({"runAsUser": 1000}, "root", 1000, 1001, [1001, 2000, 44], id="runAsUser with a line"),
        pytest.param({"runAsUser": 0}, "web", 0, 0, [0], id="runAsUser root over the image"),
        pytest.param({"runAsUser": 5}, "web:logs", 5, 0, [0], id="runAsUser without a line"),
        pytest.param({"runAsUser": 1000, "runAsGroup": 7}, "", 1000, 7, [7, 2000, 44], id="runAsGroup keeps memberships"),
        pytest.param({"runAsGroup": 7}, "web", 1000, 7, [7, 2000, 44], id="runAsGroup alone"),
        pytest.param(
            {"supplementalGroups": [5, 2000], "fsGroup": 9}, "web", 1000, 1001, [1001, 2000, 44, 5, 9], id="more groups"
        ),
        pytest.param(
            {"supplementalGroups": [5], "supplementalGroupsPolicy": "Strict"}, "web", 1000, 1001, [1001, 5], id="strict"
        ),
    ],
)
def test_identity(
    declare: Any, picture: Any, security: dict[str, Any], of_image: str, uid: int, gid: int, groups: list[int]
) -> None:
    inputs = declare({"securityContext": security}, image=picture({"Cmd": ["x"], "User": of_image}))
    assert build(inputs)["process"]["user"] == {"uid": uid, "gid": gid, "umask": 0o022, "additionalGids": groups}


@pytest.mark.parametrize(
    ("security", "of_image", "field", "message"),
    [
        ({"user": "nobody-here"}, "", "spec.securityContext.user", "unknown user 'nobody-here'"),
        ({}, "ghost", "spec.image", "unknown user 'ghost'"),
        ({"user": "web:ghosts"}, "", "spec.securityContext.user", "unknown group 'ghosts'"),
        ({"runAsUser": 2**31}, "", "spec.securityContext.runAsUser", "out of range"),
        ({"user": f"web:{2**31}"}, "", "spec.securityContext.user", "out of range"),
        ({"runAsNonRoot": True}, "", "spec.securityContext.runAsNonRoot", "would run as root"),
        ({"runAsNonRoot": True, "runAsUser": 0}, "web", "spec.securityContext.runAsNonRoot", "would run as root"),
    ],
)
def test_wrong_users_are_named(
    declare: Any, picture: Any, security: dict[str, Any], of_image: str, field: str, message: str
) -> None:
    with pytest.raises(Invalid, match=message) as caught:
        build(declare({"securityContext": security}, image=picture({"Cmd": ["x"], "User": of_image})))
    assert caught.value.causes[0].field == field


def test_run_as_non_root_sees_names_of_the_image(declare: Any, picture: Any) -> None:
    inputs = declare({"securityContext": {"runAsNonRoot": True}}, image=picture({"Cmd": ["x"], "User": "web"}))
    assert build(inputs)["process"]["user"]["uid"] == 1000


def test_parsing_skips_what_makes_no_sense() -> None:
    text = "a:x:1:2:g:/h:/s\n\n#c:x:1:1\nshort:x\nb:x:-1:2\nc:x:٣:1\n:x:1:1::\nd:x:3:4\n  e:x:5:6::/e \n"
    assert [(a.name, a.uid, a.gid, a.home) for a in parse_passwd(text)] == [
        ("a", 1, 2, "/h"),
        ("d", 3, 4, "/"),
        ("e", 5, 6, "/e"),
    ]
    groups = parse_group("g:x:1:a, b,\nh:x:2\n#i:x:3:\nj:x:no:\n")
    assert [(g.name, g.gid, g.members) for g in groups] == [("g", 1, ("a", "b")), ("h", 2, ())]
