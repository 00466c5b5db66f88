"""A new virtual environment that has everything this one has, and takes what is installed there.

Torch and the rest are not downloaded again: the new environment reads this one's packages, by a
line in a .pth file. What is installed is installed for real, by pip, with the requirements that
it declares, which pip finds met; ``--no-index`` keeps it from looking elsewhere.
"""

from __future__ import annotations

import os
import shlex
import site
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path


class FreshEnvironment:
    """A virtual environment in a new folder.

    Parameters
    ----------
    folder : Path
        Where to make it; the user's cache of fusion is moved there as well.
    """

    def __init__(self, folder: Path) -> None:
        venv.create(folder / "venv", with_pip=False, symlinks=True)
        self.python = str(folder / "venv/bin/python")
        (packages,) = (folder / "venv/lib").glob("python*/site-packages")
        # addsitedir, not a plain path: an editable fusion is found by a .pth file of its own.
        lines = [f"import site; site.addsitedir({path!r})" for path in site.getsitepackages()]
        (packages / "of_the_tests.pth").write_text("\n".join(lines) + "\n")
        self.environment = {
            **os.environ,
            "XDG_CACHE_HOME": str(folder / "cache"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        for name in ("FUSION_PLUGINS", "FUSION_CACHE", "PYTHONPATH", "VIRTUAL_ENV"):
            self.environment.pop(name, None)

    def install(self, package: Path, extra: str = "[test]") -> None:
        """``pip install PACKAGE[test]``, as a user would."""
        self.run(
            [sys.executable, "-m", "pip", "--python", self.python, "install", "-q", "--no-index",
             "--no-build-isolation", f"{package}{extra}"], package,
        )  # fmt: skip

    def command(self, line: str, folder: Path, *more: str) -> str:
        """A command as it is printed for people: ``fusion`` and ``python`` are the new ones."""
        first, *rest = shlex.split(line)
        tools = {"fusion": [self.python, "-m", "fusion"], "python": [self.python]}
        return self.run([*tools[first], *rest, *more], folder)

    def run(self, arguments: Sequence[str], folder: Path) -> str:
        """Standard output of a command that has to succeed."""
        ended = subprocess.run(
            arguments, cwd=folder, env=self.environment, capture_output=True, text=True, check=False
        )
        said = f"{shlex.join(arguments)}\n{ended.stdout}\n{ended.stderr}"
        assert ended.returncode == 0, said
        return ended.stdout
