"""Optional packages: import, and messages if they are missing or broken."""

import math

import pytest

from fusion.core.contracts.errors import ParameterError
from fusion.core.toolkit.optional import required


def ask(module, **options):
    return required(module, extra="x", by="The tracker 'x'", **options)


def test_an_installed_package_is_imported():
    assert ask("math") is math
    assert ask("os.path").join("a", "b")  # the submodule, not its package


@pytest.mark.parametrize("module", ["nowhere", "nowhere.inside"])
def test_the_error_of_a_missing_package_names_the_extra(module):
    with pytest.raises(ParameterError) as caught:
        ask(module, package="no-where")
    assert caught.value.message == (
        "The tracker 'x' needs the package no-where, which is not installed."
    )
    assert caught.value.hint == "pip install 'modal-fusion[x]'"
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_the_default_package_name_is_that_of_the_module():
    with pytest.raises(ParameterError, match="needs the package nowhere, which is not"):
        ask("nowhere")


@pytest.mark.parametrize(
    ("text", "reason"),
    [("import nowhere_either", "No module named 'nowhere_either'"),
     ("from math import no_such_thing", "cannot import name 'no_such_thing'")],
)  # fmt: skip
def test_an_installed_but_broken_package_is_not_reported_as_missing(
    tmp_path, monkeypatch, text, reason
):
    (tmp_path / "broken_package.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ParameterError, match="broken-package, which can't be imported") as caught:
        ask("broken_package", package="broken-package")
    assert reason in caught.value.message
    assert "pip install --upgrade 'modal-fusion[x]'" in caught.value.hint


def test_other_errors_of_a_package_are_passed_through(tmp_path, monkeypatch):
    (tmp_path / "faulty_package.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ZeroDivisionError):
        ask("faulty_package")
