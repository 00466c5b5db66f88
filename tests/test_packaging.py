"""The three top-level folders install as one package, whole and under one name."""

import configparser
import subprocess
import sys
from pathlib import Path

import pytest

import fusion
from fusion import testing

ROOT = Path(__file__).parents[1]
ROOT_FILES = {"__init__.py", "__main__.py", "testing.py", "py.typed"}


def listed_packages():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return set(config["options"]["packages"].split())


def data_files():
    """What the code needs beside itself: templates."""
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


def test_every_built_in_plugin_has_its_entry_point():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    points = {
        line.partition("=")[2].strip()
        for line in config["options.entry_points"]["fusion"].splitlines()
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
    """With the repository root on the path, `core` must not become a second fusion.core."""
    code = (
        "import sys, fusion.core.registry.registry as r; r.Registry(); "
        "import fusion.core.workflows.experiment; "
        "bad = [m for m in sys.modules if m.split('.')[0] in ('core', 'plugins', 'cache')]; "
        "sys.exit(' '.join(bad) or 0)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert found.returncode == 0, found.stderr


@pytest.mark.parametrize("name", fusion.__all__)
def test_every_public_name_is_there(name):
    assert getattr(fusion, name) is not None


@pytest.mark.parametrize("name", testing.__all__)
def test_every_suite_is_there(name):
    assert getattr(testing, name).__doc__
    assert name in dir(testing)


@pytest.mark.parametrize("module", ["fusion", "fusion.testing"])
def test_the_public_modules_are_light(module):
    heavy = "{'torch', 'numpy', 'click', 'pytest', 'pluggy'}"
    code = f"import sys, {module}; sys.exit(' '.join({heavy} & set(sys.modules)) or 0)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr


def test_only_tests_need_pytest():
    """It is no dependency: nothing but the suites may import it."""
    users = {
        str(path.relative_to(ROOT))
        for top in ("core", "plugins", "cache")
        for path in (ROOT / top).rglob("*.py")
        if "import pytest" in path.read_text()
    }
    assert all(user.startswith("core/testing/") for user in users), users


def test_the_root_holds_the_public_modules_alone():
    """Every .py file in the root goes into the wheel as a module of fusion."""
    assert {p.name for p in ROOT.glob("*.py")} == ROOT_FILES - {"py.typed"}


def test_imports_go_down():
    """cache knows nothing above it; core no plugin; plugins nothing of each other."""
    import ast

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
def test_the_wheel_holds_everything(tmp_path):
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
    assert {n.split("/")[0] for n in names} <= {"fusion", "modal_fusion-0.1.0.dist-info"}
