"""The suite of each kind of plugin, imported on first use."""

import subprocess
import sys
from pathlib import Path

import pytest

import fusion.core.testing.suites
from fusion import testing
from fusion.core.contracts import Plugin
from fusion.core.registry.collecting import HOOKS
from fusion.core.testing.runner import checks_of
from fusion.core.testing.suite_index import SUITES, suite_class


@pytest.mark.parametrize("kind", SUITES)
def test_every_kind_has_a_suite_with_documented_checks(kind):
    suite = suite_class(kind)
    assert issubclass(suite.kind, Plugin)
    assert suite.kind.__name__.lower() == kind
    assert len(checks_of(suite())) > 8
    assert all(getattr(suite, check).__doc__ for check in checks_of(suite()))
    assert getattr(testing, suite.__name__) is suite


def test_every_kind_and_every_suite_is_listed():
    assert SUITES.keys() == HOOKS.keys()
    (folder,) = fusion.core.testing.suites.__path__
    modules = {file.stem for file in Path(folder).glob("*.py")} - {"__init__"}
    assert {module for module, _ in SUITES.values()} == modules


def test_listing_kinds_imports_no_suite():
    code = (
        "import sys; from fusion.core.testing.suite_index import SUITES; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'pytest')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
