"""Workers that do not import the script that started them."""

import subprocess
import sys

import pytest

from fusion.core.runs.execution.main_module import main_left_out

POOL = """
print("once")
from fusion.cache.builds.workers import process_pool
from fusion.core.runs.execution.main_module import main_left_out
with main_left_out(), process_pool(2) as pool:
    print(list(pool.map(abs, [-1, -2])))
"""


def said_by(script):
    return subprocess.run([sys.executable, str(script)], capture_output=True, text=True,
                          check=False, cwd=script.parent)  # fmt: skip


def test_workers_do_not_import_the_script_that_started_them(tmp_path):
    """A script without a main guard would run again in each worker and fail there."""
    script = tmp_path / "script.py"
    script.write_text(POOL)
    output = said_by(script)
    assert output.stdout.splitlines() == ["once", "[1, 2]"], output.stderr
    script.write_text(POOL.replace("main_left_out(), ", ""))
    assert said_by(script).returncode != 0


def test_the_main_module_is_restored():
    main = sys.modules["__main__"]
    before = dict(vars(main))
    with pytest.raises(OSError, match="no"), main_left_out():
        assert main.__spec__ is None and not hasattr(main, "__file__")
        raise OSError("no")
    assert vars(main) == before


def test_an_interactive_session_still_has_no_file(monkeypatch):
    main = sys.modules["__main__"]
    monkeypatch.delattr(main, "__file__", raising=False)
    monkeypatch.setattr(main, "__spec__", None)
    with main_left_out():
        assert not hasattr(main, "__file__")
    assert not hasattr(main, "__file__") and main.__spec__ is None
