"""Method pages that are generated from docstrings."""

from types import ModuleType
from typing import ClassVar

import pytest
from doc_scripts import doc_script

from fusion import Balancer
from fusion.core.registry.registry import Entry, Source


@pytest.fixture(scope="module")
def builder() -> ModuleType:
    return doc_script("methods")


class Sample(Balancer):
    """Does one thing.

    The rule is

    ::

        a = b
          + c

    for all modalities, with ``x`` in it.

    Parameters
    ----------
    alpha : float
        How much | how little.
    mode : {"a", "b"}
        Which.

    Cost
    ----
    Nothing.

    References
    ----------
    Somebody (2020).
    """

    name = "sample"
    space: ClassVar = {}

    def __init__(self, *, alpha: float = 0.5, mode: str = "a") -> None: ...


def entry(cls, kind="balancer"):
    return Entry(kind, cls.name, cls, Source("sample", "dist", "1"))


def test_a_page(builder):
    text = builder.page(entry(Sample))
    assert text.startswith("# sample\n\n*balancer*\n\nDoes one thing.")
    # The indented lines after :: are code, without indentation.
    assert "```text\na = b\n  + c\n```\n\nfor all modalities, with `x` in it." in text
    assert "fusion run --balance sample" in text
    assert "| `sample.alpha` | float | `0.5` |  | How much \\| how little. |" in text
    assert "## Cost\n\nNothing." in text and "## References\n\nSomebody (2020)." in text
    assert "----" not in text.replace("|---|---|---|---|---|", "")


def test_a_page_without_parameters(builder):
    class Bare(Balancer):
        """Nothing."""

        name = "bare"

    text = builder.page(entry(Bare, "strategy"))
    assert "No parameters." in text and "--strategy bare" in text


def test_a_branch_is_set_through_its_modality(builder):
    text = builder.page(entry(Sample, "branch"))
    assert "`branch.MODALITY.alpha`" in text and "--branch MODALITY=sample" in text
