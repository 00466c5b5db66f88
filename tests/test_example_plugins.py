"""Conformance and installation of the example plugins, and the examples of their tutorial."""

from __future__ import annotations

import re
import shlex
import shutil
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
from fresh_environment import FreshEnvironment

from fusion.core.cli import cli, run_cli
from fusion.core.registry.parameters import parameters_of, space_of
from fusion.core.registry.registry import Registry

EXAMPLES = Path(__file__).parents[1] / "examples"
TUTORIAL = EXAMPLES.parent / "docs/how-to/write-a-plugin.md"
# Kind by name, and settings that make the checks faster without skipping any.
PLUGINS = {
    "multiplicative": ("strategy", ()),
    "prosody": ("extractor", ("--set", "prosody.resolution=0.5", "--set", "prosody.frames=40")),
}

LEFT_BEHIND = ("build", "*.egg-info", "__pycache__", ".*_cache")


def source(name: str) -> Path:
    return EXAMPLES / name / f"fusion_{name}.py"


def test_every_example_package_is_tested() -> None:
    assert {path.parent.name for path in EXAMPLES.glob("*/pyproject.toml")} == set(PLUGINS)


@pytest.mark.parametrize("name", PLUGINS)
def test_the_metadata_matches_the_source(name: str) -> None:
    with (EXAMPLES / name / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)
    assert project["project"]["name"] == f"fusion-{name}"
    assert project["project"]["entry-points"]["fusion"] == {name: f"fusion_{name}"}
    assert project["tool"]["setuptools"]["py-modules"] == [f"fusion_{name}"]
    assert (EXAMPLES / name / "README.md").read_text().startswith(f"# fusion-{name}\n")
    registry = Registry([str(source(name))], strict=True)
    kind, _ = PLUGINS[name]
    assert registry.get(kind, name).name == name


@pytest.mark.slow
@pytest.mark.parametrize("name", PLUGINS)
def test_the_source_conforms(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    kind, settings = PLUGINS[name]
    code = run_cli(["plugins", "check", str(source(name)), *settings])
    output = capsys.readouterr().out
    assert code == 0, output
    assert f"{kind} {name!r}" in output
    assert " 0 failed" in output


# -- the tutorial ----------------------------------------------------------------------


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TUTORIAL.read_text(), re.DOTALL)


README = EXAMPLES.parent / "README.md"


@pytest.mark.parametrize("page", [TUTORIAL, README], ids=["guide", "readme"])
def test_the_first_plugin_of_a_page_conforms(
    page: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "total.py"
    file.write_text(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)[0])
    code = run_cli(["plugins", "check", str(file)])
    assert code == 0, capsys.readouterr().out


def test_the_parameters_in_the_tutorial_are_recognised() -> None:
    namespace: dict[str, Any] = {}
    (shown,) = [code for code in blocks("python") if "class Mine" in code]
    exec(shown, namespace)
    mine = namespace["Mine"]
    assert set(space_of(mine)) == {"sharpness", "mode"}
    assert all(parameter.doc for parameter in parameters_of(mine).values())


def commands() -> list[str]:
    lines = "\n".join(blocks("sh")).splitlines()
    return [line.partition(" #")[0] for line in lines if line.startswith("fusion ")]


@pytest.mark.parametrize("line", commands())
def test_the_tutorials_commands_and_options_exist(line: str) -> None:
    _, *words = shlex.split(line)
    group: click.Command = cli
    while isinstance(group, click.Group):
        context = click.Context(group)
        result = group.get_command(context, words.pop(0))
        assert result is not None, line
        group = result
    options = {name for parameter in group.params for name in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= options


# -- installed -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> FreshEnvironment:
    return FreshEnvironment(tmp_path_factory.mktemp("fresh"))


@pytest.mark.slow
@pytest.mark.parametrize("name", PLUGINS)
def test_a_package_installs_and_passes_its_own_tests(
    name: str, environment: FreshEnvironment, tmp_path: Path
) -> None:
    # A copy, because building leaves files behind, and without build files of the original. The
    # module is removed from it, so that only the installed one can be imported.
    package = tmp_path / name
    shutil.copytree(EXAMPLES / name, package, ignore=shutil.ignore_patterns(*LEFT_BEHIND))
    environment.install(package)
    (package / f"fusion_{name}.py").unlink()
    output = environment.command("python -m pytest -q -p no:cacheprovider", package)
    assert " passed" in output
    assert name in environment.command("fusion plugins list", package)
