"""Valid names for new plugins, and the names derived from them."""

from __future__ import annotations

import keyword
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.core.cli.scaffold.names import check_name, names_for
from fusion.core.cli.scaffold.package import source_of
from fusion.core.contracts.errors import ParameterError
from fusion.core.registry.registry import Registry


@pytest.mark.parametrize(
    ("name", "output", "hint"),
    [
        ("my-gate", "lower-case letters", "Did you mean my_gate?"),
        ("MyGate", "lower-case letters", "Did you mean mygate?"),
        ("my gate!", "lower-case letters", "Did you mean my_gate?"),
        ("fusion-gate", "lower-case letters", "Did you mean gate?"),
        ("_gate", "lower-case letters", "Did you mean gate?"),
        ("my__gate", "lower-case letters", "Did you mean my_gate?"),
        ("3gates", "lower-case letters", None),
        ("größe", "lower-case letters", "Did you mean gr_e?"),
        ("", "lower-case letters", None),
        ("../gate", "lower-case letters", "Did you mean gate?"),
        ("fusion_gate", "module would be called fusion_fusion_gate", "Did you mean gate?"),
        (33 * "x", "33 characters", None),
        ("lambda", "a keyword of Python", "my_lambda or lambda_balancer"),
        ("match", "a keyword of Python", "my_match"),
        ("oracle", "reserved", "my_oracle"),
        ("gated", "taken: it is a strategy of modal-fusion", "gated_balancer"),
        ("ogm_ge", "taken: it is a balancer of modal-fusion", "my_ogm_ge"),
    ],
)
def test_an_invalid_name_is_refused(
    name: str, output: str, hint: str | None, registry: Registry
) -> None:
    with pytest.raises(ParameterError) as refused:
        check_name("balancer", name, registry)
    assert repr(name) in refused.value.message
    assert output in refused.value.message
    assert hint is None or hint in (refused.value.hint or "")


def test_the_name_of_an_existing_module_is_refused(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fusion_taken.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        ParameterError, match=r"The module fusion_taken already exists: .*fusion_taken\.py"
    ):
        check_name("branch", "taken", registry)


def test_ensemble_is_reserved_for_a_row_of_the_result_table(registry: Registry) -> None:
    with pytest.raises(ParameterError, match="reserved"):
        check_name("balancer", "ensemble", registry)


@pytest.mark.parametrize("name", ["keys", "type", "forward"])
def test_the_name_of_a_module_method_is_refused_for_a_modality(
    name: str, registry: Registry
) -> None:
    """Branches are stored by modality in a ModuleDict."""
    with pytest.raises(ParameterError):
        check_name("extractor", name, registry)
    if name != "type":  # a keyword of Python 3.12
        check_name("tracker", name, registry)


@given(st.from_regex(r"[a-z][a-z0-9]{0,6}(_[a-z0-9]{1,6}){0,3}", fullmatch=True))
def test_names_derived_from_a_plugin_name(name: str) -> None:
    names = names_for("branch", name, "import os")
    assert names.cls.isidentifier()
    assert not keyword.iskeyword(names.cls)
    assert names.module.isidentifier()
    # The package index normalises names by PEP 503.
    assert names.distribution == re.sub(r"[-_.]+", "-", f"fusion-{name}").lower()


def test_a_class_name_does_not_shadow_a_name_of_its_module() -> None:
    assert names_for("branch", "tensor", source_of("branch")).cls == "TensorBranch"
    assert names_for("strategy", "none", source_of("strategy")).cls == "NoneStrategy"
    assert names_for("tracker", "my_gate", source_of("tracker")).cls == "MyGate"
