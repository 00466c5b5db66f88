"""Imports of plugin modules, and messages if they fail."""

import json
import re
import sys
from importlib.metadata import EntryPoint

import pytest
from broken_plugins import a_sum
from places import TESTS

from fusion import API_VERSION
from fusion.core.contracts.errors import PluginError, RunError
from fusion.core.registry.loading import (
    content_of,
    error_text,
    error_with_line,
    file_of,
    load,
    load_file,
    source_of,
)
from fusion.core.registry.problems import BrokenPluginError, Source
from fusion.core.registry.registry import Registry

V1 = TESTS / "compat" / "v1"


def refused(target):
    """Return the message and the hint of the error that `load` raises."""
    with pytest.raises(BrokenPluginError) as caught:
        load(target)
    return caught.value.message, caught.value.hint


# -- files ---------------------------------------------------------------------------


def test_two_files_of_one_name_can_be_loaded(plugin, tmp_path):
    (tmp_path / "other").mkdir()
    first = plugin(a_sum(name="one"))
    second = plugin(a_sum(name="two"), "other/mine.py")
    registry = Registry([first, second])
    assert registry.strategy("one") is not registry.strategy("two")


def test_the_module_of_a_file_has_a_reproducible_name(plugin):
    path = plugin(a_sum(name="x"))
    module = load_file(path)
    assert load_file(path) is module
    assert file_of(module.__name__) == path
    assert file_of("json") is None


def test_a_file_is_executed_again_only_if_its_text_has_changed(plugin):
    path = plugin("made = []\n")
    first = load_file(path)
    digest = content_of(first.__name__)
    first.made.append("once")
    assert load(path).made == ["once"]
    plugin("made = []  # anew\n")
    second = load(path)
    assert second is not first and second.made == []
    assert second.__name__ == first.__name__
    assert content_of(second.__name__) != digest


@pytest.mark.parametrize("line", ["1 / 0", "import sys; sys.exit()", "raise KeyboardInterrupt"])
def test_a_failed_import_leaves_no_module(plugin, line):
    before = set(sys.modules)
    path = plugin(line)
    stopped = KeyboardInterrupt if "Keyboard" in line else BrokenPluginError
    with pytest.raises(stopped):
        load(path)
    assert not {name for name in set(sys.modules) - before if name.startswith("fusion_plugin_")}


def test_a_file_that_can_not_be_loaded_is_named_with_the_cause(plugin):
    path = plugin("x = 1\nx / 0\n")
    with pytest.raises(PluginError) as caught:
        load_file(path)
    assert caught.value.message == (
        f"plugin 'mine' ({path}) can't be used: its import failed: ZeroDivisionError: division by "
        "zero (mine.py, line 2)"
    )
    assert caught.value.hint == "Fix the plugin. Or run without the plugin: -p no:mine"
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_missing_file_is_reported(tmp_path):
    assert refused(str(tmp_path / "mine.py")) == (
        "the file does not exist.",
        "Correct the path given to -p.",
    )


def test_the_source_of_a_request():
    assert source_of("/theirs/mine.py") == Source("mine", "/theirs/mine.py", "")
    assert source_of("their.module") == Source("their.module", "module", "")


# -- modules and entry points ----------------------------------------------------------


def test_a_module_is_imported_by_its_name():
    assert load("json") is json
    assert load(EntryPoint("mine", "json", "fusion")) is json


@pytest.mark.parametrize("name", ["their_package", "their_package.module", "json.theirs"])
def test_a_missing_module_is_reported_with_a_hint(name):
    reason, remedy = refused(name)
    assert reason.startswith("its import failed: ModuleNotFoundError: No module named")
    assert remedy == "Give a file (./my.py), or a module that Python finds."
    assert refused(EntryPoint("mine", name, "fusion"))[1] == "Install its distribution again."


def test_a_missing_import_of_a_module_is_reported_by_its_own_name(tmp_path, monkeypatch):
    """The name of the missing module is a prefix of the importing module's name."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "their_lacking_part.py").write_text("import their_lacking\n")
    reason, remedy = refused("their_lacking_part")
    assert reason.endswith("No module named 'their_lacking' (their_lacking_part.py, line 1)")
    assert remedy == "Install the package with the module 'their_lacking'."


def test_an_entry_point_that_is_no_module_is_reported(installed, tmp_path):
    installed({"colon": a_sum(name="their_healthy")})
    points = tmp_path / "broken_colon-2.1.dist-info" / "entry_points.txt"
    points.write_text("[fusion]\ncolon = broken_colon:Sum\n")
    (problem,) = Registry().problems
    assert str(problem) == (
        "plugin 'colon' (fusion-colon 2.1) was skipped: its entry point names a type, which is not "
        "a module."
    )
    assert problem.remedy.startswith("Name the module in pyproject.toml, without a colon. Or run")


def test_a_deleted_module_of_an_installed_plugin_is_reported(installed, tmp_path):
    installed({"gone": a_sum(name="their_healthy")})
    (tmp_path / "broken_gone.py").unlink()
    (problem,) = Registry().problems
    assert problem.reason == (
        "its import failed: ModuleNotFoundError: No module named 'broken_gone'"
    )
    assert problem.remedy.startswith("Install its distribution again.")


# -- versions of the contract ----------------------------------------------------------


@pytest.mark.parametrize("output", ["", "api_version = 1", f"api_version = {API_VERSION}"])
def test_modules_without_a_version_or_with_a_known_one_are_loaded(output, plugin):
    file = plugin(f"{output}\n" + (V1 / "strategy.py").read_text())
    assert Registry([file]).strategy("v1_weighted")


@pytest.mark.parametrize("version", ["0", "-1", "True", "None", "1.0", "'1'"])
def test_an_invalid_version_is_refused(version, plugin):
    assert refused(plugin(f"api_version = {version}\n")) == (
        f"its api_version is {version}, which is not a version of the plugin contract.",
        f"Write api_version = {API_VERSION}.",
    )


@pytest.mark.parametrize("text", ["", "from fusion import NotYetThere\n", "def :\n"])
def test_a_later_version_is_reported_before_other_errors(text, plugin):
    later = API_VERSION + 1
    reason, remedy = refused(plugin(f"api_version = {later}\n{text}"))
    assert reason.startswith(f"it is written for version {later} of the plugin contract")
    assert remedy.startswith("Update fusion")


def test_a_later_version_is_found_although_the_import_fails(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "their_later.py").write_text("import nothing_of_that_name\napi_version = 99\n")
    assert refused("their_later")[0].startswith("it is written for version 99 ")


# -- texts of errors -------------------------------------------------------------------


def test_an_error_is_located_at_the_last_line_in_the_plugin(plugin):
    path = plugin(
        """\
        import json

        def outer():
            return inner()

        def inner():
            return json.loads("{")
        """
    )
    with pytest.raises(json.JSONDecodeError) as caught:
        load(path).outer()
    assert re.fullmatch(
        r"JSONDecodeError: .* \(mine\.py, line 7\)", error_with_line(caught.value, path)
    )
    assert re.search(r" \(decoder\.py, line \d+\)$", error_with_line(caught.value, "json.decoder"))
    assert error_with_line(caught.value, "nothing.of.that.name") == error_text(caught.value)


def test_texts_of_errors():
    assert error_text(KeyError("k")) == "KeyError: 'k'"
    assert error_text(ValueError(" ")) == "ValueError: no message"
    assert error_text(RunError("No run here.", hint="Look elsewhere.")) == "No run here."
