"""What the start of a run, and of each of its workers, does not wait for."""

import subprocess
import sys

import pytest

# Packages that some plugins and reports use; each takes a tenth of a second or more to import.
HEAVY = ("gudhi", "librosa", "matplotlib", "numba", "persim", "ripser", "scipy", "sklearn",
         "soundfile", "sympy", "torch._dynamo", "transformers")  # fmt: skip

REGISTRY = "from fusion.core.registry.registry import Registry; Registry()"
WORKER = "import fusion.core.runs.execution.scheduler"
TRAINING = """
from fusion.core.testing.checks.problem import small_trainer
small_trainer([], 2, epochs=1, optimizer={optimizer!r}).fit()
"""
HELD_OUT = """
from fusion.core.testing.checks.problem import small_trainer
from fusion.plugins.strategies.gated import Gated
small_trainer([], 2, epochs=1, strategy=Gated).fit()
"""


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(REGISTRY, id="registry"),
        pytest.param(WORKER, id="worker"),
        pytest.param(TRAINING.format(optimizer="adamw"), id="training"),
        pytest.param(TRAINING.format(optimizer="sgd"), id="training-sgd"),
        pytest.param(HELD_OUT, id="fit-to-held-out-clips"),
    ],
)
def test_nothing_heavy_is_imported(code):
    asked = f"{code}\nimport sys\nprint(*[m for m in {HEAVY!r} if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert said.stdout.split() == []
