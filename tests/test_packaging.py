"""Packaging: the three top-level folders are installed completely as one package."""

import ast
import configparser
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

import pytest

import fusion
from fusion import testing

ROOT = Path(__file__).parents[1]
ROOT_FILES = {"__init__.py", "__main__.py", "testing.py", "py.typed"}


# Distribution -> module that it installs, if the names differ.
MODULES = {"mlflow-skinny": "mlflow", "pillow": "PIL", "pyyaml": "yaml", "scikit-learn": "sklearn"}
# Dependency without an import -> the file that needs it, and the text that shows this.
UNIMPORTED = {
    "alembic": ("plugins/trackers/mlflow.py", "sqlite:"),  # mlflow's store in a file
    "sqlalchemy": ("plugins/trackers/mlflow.py", "sqlite:"),
    "codespell": (".ci/run", "codespell"),
    "import-linter": (".ci/run", "lint-imports"),
    "mkdocs-material": ("mkdocs.yml", "name: material"),
    "mkdocstrings": ("mkdocs.yml", "mkdocstrings"),
    "pytest-benchmark": (".ci/run", "--benchmark-max-time"),
    "pytest-xdist": (".ci/run", "-n auto"),
}


def setup_options(section="options"):
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return config[section]


def listed_packages():
    return set(setup_options()["packages"].split())


def distributions(requirements):
    """Return the names in a list of requirements, without fusion's own extras."""
    lines = [line for line in requirements.splitlines() if line and not line.startswith("#")]
    return [n for line in lines if (n := re.match(r"[\w-]+", line)[0]) != "modal-fusion"]


def modules_imported(*tops, by=()):
    """Return the modules that files below `tops` import, or name in calls of functions `by`."""
    result = set()
    for path in (path for top in tops for path in (ROOT / top).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Import(names=names):
                    result |= {alias.name for alias in names}
                case ast.ImportFrom(level=0, module=str(name)):
                    result.add(name)
                case ast.Call(
                    func=ast.Name(id=name) | ast.Attribute(attr=name), args=arguments
                ) if name in by:
                    result |= {str(a.value) for a in arguments if isinstance(a, ast.Constant)}
    return {name.partition(".")[0] for name in result}


def data_files():
    """Return the data files of the code: templates and styles."""
    files = (p for top in ("core", "plugins", "cache") for p in (ROOT / top).rglob("*"))
    return {p for p in files if p.suffix in (".j2", ".css")}


def test_every_package_folder_is_listed():
    folders = {
        ".".join(["fusion", *init.parent.relative_to(ROOT).parts])
        for top in ("core", "plugins", "cache")
        for init in (ROOT / top).rglob("__init__.py")
    }
    assert listed_packages() == folders | {"fusion"}
    modules = {p.parent for top in ("core", "plugins", "cache") for p in (ROOT / top).rglob("*.py")}
    assert all((folder / "__init__.py").is_file() for folder in modules)


def test_every_required_dependency_is_imported_by_installed_code():
    required = distributions(setup_options()["install_requires"])
    imported = modules_imported("core", "cache", "plugins")
    assert len(required) > 10
    assert {MODULES.get(name, name) for name in required} - imported == set()


def test_every_extra_dependency_is_used():
    extras = {
        name
        for requirements in setup_options("options.extras_require").values()
        for name in distributions(requirements)
    }
    imported = modules_imported(
        *("core", "cache", "plugins", "tests", "docs", "benchmarks", "examples"),
        by={"import_module", "required", "importorskip", "find_spec", "needs"},
    )
    assert len(extras) > 20
    unused = {n for n in extras if MODULES.get(n, n.replace("-", "_")) not in imported}
    assert unused == set(UNIMPORTED)
    for file, words in UNIMPORTED.values():
        assert words in (ROOT / file).read_text(encoding="utf-8")


def test_every_built_in_plugin_has_its_entry_point():
    points = {
        line.partition("=")[2].strip()
        for line in setup_options("options.entry_points")["fusion"].splitlines()
        if line.strip()
    }
    files = {
        ".".join(["fusion", *p.relative_to(ROOT).with_suffix("").parts])
        for p in (ROOT / "plugins").rglob("*.py")
        if not p.name.startswith("_")
    }
    assert points == files


def test_every_data_file_is_listed():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = {
        path
        for package, pattern in config["options.package_data"].items()
        for path in ROOT.joinpath(*package.split(".")[1:]).glob(pattern)
    }
    assert data_files() | {ROOT / "py.typed"} == listed


def test_nothing_is_imported_under_two_names():
    """`core` must not become a second fusion.core if the repository root is on the path."""
    code = (
        "import sys, fusion.core.registry.registry as r; r.Registry(); "
        "import fusion.core.workflows.experiment; "
        "bad = [m for m in sys.modules if m.split('.')[0] in ('core', 'plugins', 'cache')]; "
        "sys.exit(' '.join(bad) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", fusion.__all__)
def test_every_public_name_exists(name):
    assert getattr(fusion, name) is not None


@pytest.mark.parametrize("name", testing.__all__)
def test_every_suite_exists(name):
    assert getattr(testing, name).__doc__
    assert name in dir(testing)


@pytest.mark.parametrize("module", ["fusion", "fusion.testing"])
def test_the_public_modules_import_no_heavy_library(module):
    heavy = "{'torch', 'numpy', 'click', 'pytest', 'pluggy'}"
    code = f"import sys, {module}; sys.exit(' '.join({heavy} & set(sys.modules)) or 0)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_only_the_suites_import_pytest():
    """pytest is not a dependency, so only the suites may import it."""
    users = {
        str(path.relative_to(ROOT))
        for top in ("core", "plugins", "cache")
        for path in (ROOT / top).rglob("*.py")
        if "import pytest" in path.read_text()
    }
    assert all(user.startswith("core/testing/") for user in users), users


def test_the_root_contains_only_the_public_modules():
    """Every .py file in the root goes into the wheel as a module of fusion."""
    assert {p.name for p in ROOT.glob("*.py")} == ROOT_FILES - {"py.typed"}


def test_imports_point_to_lower_layers():
    """cache imports neither core nor plugins, core no plugin, and plugins not each other."""
    ranks = {"cache": 0, "core": 1, "plugins": 2}
    for top, rank in ranks.items():
        for path in (ROOT / top).rglob("*.py"):
            package = path.relative_to(ROOT).parent.parts
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.ImportFrom) or not node.level:
                    continue
                base = package[: len(package) - node.level + 1]
                target = (*base, *(node.module or "").split("."))
                if target[0] in ranks:
                    assert ranks[target[0]] <= rank, f"{path} imports {'.'.join(target)}"
                if top == "plugins" and target[0] == "plugins":
                    assert target[:2] == package[:2] and target[-1].startswith("_"), path


@pytest.mark.slow
def test_the_wheel_contains_every_file(tmp_path):
    import zipfile

    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), str(ROOT)],
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    own = {
        f"fusion/{p.relative_to(ROOT)}"
        for top in ("core", "plugins", "cache")
        for p in (ROOT / top).rglob("*.py")
    } | {f"fusion/{p.relative_to(ROOT)}" for p in data_files()}
    assert own | {f"fusion/{file}" for file in ROOT_FILES} <= names
    assert {n.split("/")[0] for n in names} <= {"fusion", "modal_fusion-0.2.0.dist-info"}


def dependency_rows():
    """Return the licence of each package in the table of dependencies."""
    text = (ROOT / "docs/contributing/dependencies.md").read_text(encoding="utf-8")
    rows = (line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| "))
    return {row[0]: row[3] for row in rows if row[0] != "package"}


def test_the_licence_of_each_dependency_is_listed():
    extras = setup_options("options.extras_require").values()
    declared = [setup_options()["install_requires"], *extras]
    names = {name for requirements in declared for name in distributions(requirements)}
    assert names == set(dependency_rows())


def test_listed_licences_are_those_that_the_packages_declare():
    listed = {name: metadata_of(name) for name in dependency_rows()}
    declared = {name: text for name, text in listed.items() if text}
    assert len(declared) > 10
    assert declared == {name: dependency_rows()[name] for name in declared}


def metadata_of(name):
    """Return the licence that an installed package declares as an SPDX expression, if any."""
    try:
        return metadata(name).get("License-Expression")
    except PackageNotFoundError:
        return None


def test_each_constraint_is_one_exact_version():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert len(pins) > 100
    assert [p for p in pins if not re.fullmatch(r"[\w.-]+==[\w.+!-]+( ;.*)?", p)] == []
    declared = [
        setup_options()["install_requires"],
        *setup_options("options.extras_require").values(),
    ]
    names = {re.sub(r"[-_.]+", "-", p.partition("==")[0]).lower() for p in pins}
    # s3fs is tested in an environment of its own, see .ci/run.
    assert {name for text in declared for name in distributions(text)} - names == {"s3fs"}
