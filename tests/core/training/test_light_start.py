"""Imports at the start of a run and of its workers."""

import subprocess
import sys

# Packages that some plugins and reports use; each takes a tenth of a second or more to import.
HEAVY = ("gudhi", "librosa", "matplotlib", "numba", "persim", "ripser", "scipy", "sklearn",
         "soundfile", "sympy", "torch._dynamo", "transformers")  # fmt: skip

# The steps share one process, so a package imported by an earlier step is listed for later ones.
STEPS = {
    "registry": "from fusion.core.registry.registry import Registry; Registry()",
    "worker": "import fusion.core.runs.execution.scheduler",
    "training": "from fusion.core.testing.checks.problem import small_trainer\n"
                "small_trainer([], 2, epochs=1, optimizer='adamw').fit()",
    "training with sgd": "small_trainer([], 2, epochs=1, optimizer='sgd').fit()",
    "fit to held-out clips": "from fusion.plugins.strategies.gated import Gated\n"
                             "small_trainer([], 2, epochs=1, strategy=Gated).fit()",
}  # fmt: skip


def test_no_heavy_package_is_imported():
    code = ["import sys"]
    for name, step in STEPS.items():
        code += [step, f"print({name!r}, [m for m in {HEAVY!r} if m in sys.modules])"]
    output = subprocess.run([sys.executable, "-c", "\n".join(code)], capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert output.returncode == 0, output.stderr
    assert output.stdout.splitlines() == [f"{name} []" for name in STEPS]
