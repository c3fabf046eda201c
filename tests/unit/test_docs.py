"""What the pages say about files, links, commands and settings is so."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from setpoint.cli.app import MODULES
from setpoint.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
CODE = re.compile(r"`([^`\n]+)`")
PATH = re.compile(r"(?:setpoint|controllers|state|tests|tools|docs|examples|protos|crds|changelog\.d|bench)/[\w./*-]*")
COMMAND = re.compile(r"(?:^|[`$] ?|&& ?|\| ?)setpoint ([a-z][a-z-]*)", re.MULTILINE)
VERBS = {verb for verbs in MODULES.values() for verb in verbs}
NOT_YET = set(MODULES["later"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
class TestPage:
    def test_links_lead_somewhere(self, page: Path) -> None:
        missing = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]
        assert not missing

    def test_files_that_are_named_exist(self, page: Path) -> None:
        named = {path for code in CODE.findall(page.read_text()) if (path := code.strip()) and PATH.fullmatch(path)}
        missing = [path for path in named if not any(ROOT.glob(path.rstrip("/"))) and not path.startswith("state/setpoint")]
        assert not missing

    def test_commands_are_verbs(self, page: Path) -> None:
        unknown = {verb for verb in COMMAND.findall(page.read_text()) if verb not in VERBS}
        assert not unknown


def test_the_readme_promises_no_verb_that_only_says_not_yet() -> None:
    shown = (ROOT / "README.md").read_text().split("## What works")[0]
    assert not NOT_YET & set(COMMAND.findall(shown))


def test_every_setting_is_in_operations() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    assert [field.name for field in fields(Settings) if f"`{field.name}`" not in page] == []
