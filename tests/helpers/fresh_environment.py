"""A new virtual environment with the packages of this one, for tests of installation.

The new environment reads this one's packages by a line in a .pth file, so torch and other
packages are not downloaded again. Packages under test are installed by pip, which finds their
requirements satisfied; ``--no-index`` prevents downloads.
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
        Where to create the environment, and the user's cache folder of its processes.
    """

    def __init__(self, folder: Path) -> None:
        venv.create(folder / "venv", with_pip=False, symlinks=True)
        self.python = str(folder / "venv/bin/python")
        (packages,) = (folder / "venv/lib").glob("python*/site-packages")
        # addsitedir and not a plain path, because an editable fusion has its own .pth file.
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
        """Run ``pip install PACKAGE[test]``."""
        self.run(
            [sys.executable, "-m", "pip", "--python", self.python, "install", "-q", "--no-index",
             "--no-build-isolation", f"{package}{extra}"], package,
        )  # fmt: skip

    def command(self, line: str, folder: Path, *more: str) -> str:
        """Run a printed command with the ``fusion`` and ``python`` of the new environment."""
        first, *rest = shlex.split(line)
        tools = {"fusion": [self.python, "-m", "fusion"], "python": [self.python]}
        return self.run([*tools[first], *rest, *more], folder)

    def run(self, arguments: Sequence[str], folder: Path) -> str:
        """Run a command that has to succeed, and return its standard output."""
        ended = subprocess.run(
            arguments, cwd=folder, env=self.environment, capture_output=True, text=True, check=False
        )
        said = f"{shlex.join(arguments)}\n{ended.stdout}\n{ended.stderr}"
        assert ended.returncode == 0, said
        return ended.stdout
