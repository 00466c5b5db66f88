"""Formulas of the method pages in docs/generate/formulas.toml."""

import inspect
import re
import tomllib

import pytest
from places import ROOT

from fusion.core.registry.registry import Registry

FORMULAS = tomllib.loads((ROOT / "docs/generate/formulas.toml").read_text(encoding="utf-8"))
KINDS = ("strategy", "balancer", "branch")


def built_in(kind):
    entries = Registry().entries(kind)
    return {e.name: e.cls for e in entries if e.source.distribution == "modal-fusion"}


def test_every_formula_belongs_to_a_built_in_method():
    assert set(FORMULAS) == set(KINDS)
    for kind, formulas in FORMULAS.items():
        assert set(formulas) <= set(built_in(kind))
        assert all(set(table) == {"formula"} for table in formulas.values())


@pytest.mark.parametrize("kind", KINDS)
def test_every_docstring_with_a_formula_block_has_a_formula(kind):
    docs = {name: inspect.getdoc(cls).splitlines() for name, cls in built_in(kind).items()}
    blocks = {name: lines.count("::") for name, lines in docs.items()}
    assert max(blocks.values()) <= 1
    assert {name for name, count in blocks.items() if count} <= set(FORMULAS[kind])
    # The block is directly below the summary line.
    assert all(docs[name][2] == "::" for name, count in blocks.items() if count)


@pytest.mark.parametrize(
    "formula",
    [table["formula"] for kind in KINDS for table in FORMULAS[kind].values()],
    ids=[f"{kind}-{name}" for kind in KINDS for name in FORMULAS[kind]],
)
def test_a_formula_converts_to_mathml(formula):
    converter = pytest.importorskip("latex2mathml.converter")
    mathml = converter.convert(formula.strip(), display="block")
    # latex2mathml keeps unknown commands and column separators in its output.
    assert not re.search(r">(&|&amp;|\\\w*)<|linebreak", mathml)
