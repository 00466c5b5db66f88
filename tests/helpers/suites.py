"""Runner of conformance suites without pytest."""

import contextlib
import functools
import inspect
import os
import sys

import pytest

from fusion.core.testing.runner import run


def failures(suite_class, plugin, *, only=None, **attributes):
    """Return the first message of each failing check by name, as pytest would show it."""
    suite = type("TestIt", (suite_class,), {"plugin": plugin, **attributes})()
    found = {}
    for name in dir(suite):
        if not name.startswith("test_") or (only is not None and name not in only):
            continue
        check = getattr(suite, name)
        by_case = "case" in inspect.signature(check).parameters
        for each in (
            [functools.partial(check, case) for case in suite.cases()] if by_case else [check]
        ):
            try:
                each()
            except pytest.skip.Exception:
                continue
            except (AssertionError, pytest.fail.Exception) as error:
                found.setdefault(name, str(error))
    return found


def fails_only(suite_class, plugin, words, meant, *others, alone=False):
    """Assert that a plugin fails the check `meant` with these words, and the checks `others`.

    With `alone` only the check `meant` is run, for plugins that can't be constructed or run.
    """
    only = {f"test_{meant}"} if alone else None
    found = failures(suite_class, plugin, only=only)
    assert words in found[f"test_{meant}"]
    assert "usual cause:" in found[f"test_{meant}"]
    assert set(found) == {f"test_{name}" for name in (meant, *others)}, found


def own_checks(suite_class):
    """Return the names of the checks that a suite class adds to those of its bases."""
    return {name for name in vars(suite_class) if name.startswith("test_")}


def group_of(suite, name):
    """Return the results of one check by its title in ``fusion plugins check``."""
    return next(group for group in run(suite) if group.name == name)


def pytest_says(capsys, folder, text, *options):
    """Run pytest on a file ``test_mine.py`` in this process, and return its output."""
    (folder / "test_mine.py").write_text(text)
    fixed = ["-q", "-c", os.devnull, "--rootdir", str(folder), "--import-mode=importlib"]
    without = [f"-pno:{plugin}" for plugin in ("cacheprovider", "xdist", "benchmark")]
    with contextlib.chdir(folder):
        pytest.main([*fixed, *without, *options, "test_mine.py"])
    del sys.modules["test_mine"]
    return capsys.readouterr().out
