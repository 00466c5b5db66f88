"""Texts and commands for new plugins, by kind."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest

from fusion.core.cli.scaffold.kinds import KINDS, companions, kind_of
from fusion.core.contracts.errors import UnknownNameError
from fusion.core.registry.registry import HOOKS
from fusion.core.testing.suite_index import SUITES


def test_every_kind_with_a_hook_and_a_suite_has_texts() -> None:
    assert set(KINDS) == set(HOOKS) == set(SUITES)


def test_an_unknown_kind_is_refused_with_a_suggestion() -> None:
    assert kind_of("branch") is KINDS["branch"]
    with pytest.raises(UnknownNameError, match="no kind of plugin 'branhc'.*'branch'"):
        kind_of("branhc")


@pytest.mark.parametrize("kind", KINDS)
def test_commands_contain_only_known_placeholders(kind: str) -> None:
    chosen = KINDS[kind]
    for command in (chosen.run, *chosen.judge, *chosen.check):
        assert set(re.findall(r"\{(\w+)\}", command)) <= {"plugin", "EXTRACTOR", "STRATEGY"}
        command.format(plugin="tilt", EXTRACTOR="mel", STRATEGY="gated")
    assert "{plugin}" in chosen.run and chosen.title and chosen.summary


def registry_of(defaults: dict[str, list[str]], names: dict[str, list[str]]) -> Any:
    return SimpleNamespace(
        defaults=lambda kind: defaults.get(kind, []),
        entries=lambda kind: [SimpleNamespace(name=n) for n in names.get(kind, [])],
    )


def test_companions_are_defaults_or_the_first_plugin_or_a_placeholder() -> None:
    result = companions(
        registry_of({"extractor": ["mel"]}, {"extractor": ["a"], "strategy": ["sum"]})
    )
    assert result == {
        "EXTRACTOR": "mel", "STRATEGY": "sum",
    }  # fmt: skip
    assert companions(registry_of({}, {})) == {"EXTRACTOR": "NAME", "STRATEGY": "NAME"}
