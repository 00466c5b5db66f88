"""Layout of tests: every module has a test file of its name in a folder of the same name."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Modules of plugins whose names begin with an underscore are tested by the plugins that use them.
MODULES = [
    path.relative_to(ROOT)
    for top in ("core", "cache", "plugins")
    for path in sorted((ROOT / top).rglob("*.py"))
    if path.name != "__init__.py" and not (top == "plugins" and path.name.startswith("_"))
]


@pytest.mark.parametrize("top", ["core", "cache", "plugins"])
def test_every_module_has_a_test_file_of_its_name(top):
    own = [module for module in MODULES if module.parts[0] == top]
    assert own
    missing = [m for m in own if not (ROOT / "tests" / m.parent / f"test_{m.stem}.py").is_file()]
    assert missing == []


def test_every_test_folder_belongs_to_an_existing_folder():
    folders = {path.parent.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*")}
    rooms = {f for f in folders if f.parts and f.parts[0] in ("core", "cache", "plugins")}
    assert [folder for folder in rooms if not (ROOT / folder).is_dir()] == []
