"""A plugin with a fault is a plugin like any other."""

import csv
import subprocess
import sys

import pytest
import torch
from fault_examples import DIMS, Hundred, Length, inputs, pair
from small_runs import SMALL
from suites import failures

from fusion import Branch
from fusion.core.cli import run_cli
from fusion.core.contracts.errors import ParameterError
from fusion.core.registry.parameters import parameters_of
from fusion.plugins.branches.cnn import CNN
from fusion.plugins.branches.mlp import MLP
from fusion.plugins.strategies.concat import Concat
from fusion.plugins.strategies.early import Early
from fusion.plugins.strategies.gated import Gated
from fusion.testing import BranchSuite, StrategySuite, faults

# -- a faulty plugin is a plugin --------------------------------------------------------


def test_faulty_branches_pass_the_suite():
    assert failures(BranchSuite, faults.starved(MLP, 0.5)) == {}
    # The fault acts on the embedding or on the maps, not on both.
    assert set(failures(BranchSuite, faults.scaled(MLP, 2.0))) == {"test_maps_and_pool"}


@pytest.mark.parametrize(
    "cls",
    [
        faults.scaled(Concat, 2.0),
        faults.oversized(Concat, 32),
        faults.locked(Concat, 0.9),
        faults.scaled(Gated, 2.0),
        faults.locked(Gated, 0.9),
        faults.starved(Early, 0.5),
    ],
)
def test_faulty_strategies_pass_the_suite(cls):
    assert failures(StrategySuite, cls) == {}


def test_parameters_name_and_text_are_those_of_the_healthy_class():
    cls = faults.scaled(faults.dead(CNN, 0.5), 10.0)
    assert cls.name == "cnn_dead_scaled"
    first, second = faults.dead(MLP, 0.1, name="twice"), faults.dead(MLP, 0.2, name="twice")
    assert (first.__qualname__, second.__qualname__) == ("Twice", "Twice2")
    assert sys.modules[__name__].Twice2 is second
    assert parameters_of(cls) == parameters_of(CNN)
    assert cls.space == CNN.space
    assert not cls.default
    assert cls.__doc__.startswith("A fault on purpose: everything times 10.")
    assert faults.dead(CNN, name="half").name == "half"
    assert cls.accepts((1, 4, 4))
    assert not cls.accepts((4,))


def test_faults_compose():
    faulty, _ = pair(lambda cls: faults.scaled(faults.biased(cls, 3.0), 10.0))
    _, healthy = pair(lambda cls: faults.biased(cls, 3.0))
    x = inputs()
    assert torch.allclose(faulty(x), 10 * faulty.inner(x))
    offset = faulty.inner(x) - healthy(x)
    assert torch.allclose(offset.abs(), torch.full_like(offset, 3.0), atol=1e-5)


def test_state_comes_back(tmp_path):
    cls = faults.scaled(faults.dead(CNN, 0.5))
    first, second = cls((1, 16, 24), 6), cls((1, 16, 24), 6)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.eval()(inputs()), second.eval()(inputs()))


class Direct(Branch):
    """A branch with a forward of its own."""

    name = "direct"

    def __init__(self, shape: tuple[int, ...], dim: int = 5) -> None:
        super().__init__(shape, dim)
        self.map_channels = dim

    def maps(self, x):
        return x[:, : self.dim, None]

    def pool(self, maps):
        return maps[:, :, 0]

    def forward(self, x):
        return self.pool(self.maps(x)) + 1


def test_the_fault_acts_once_whatever_forward_does():
    branch = faults.scaled(faults.scaled(Direct, 2.0), 5.0)((5,), 5)
    x = torch.ones(2, 5)
    assert torch.equal(branch(x), torch.full((2, 5), 20.0))
    assert torch.equal(branch.maps(x), torch.full((2, 5, 1), 10.0))


@pytest.mark.parametrize(
    ("fault", "cls", "possible"),
    [
        (faults.narrow, Concat, "a branch"),
        (faults.oversized, CNN, "a strategy that takes embeddings"),
        (faults.oversized, Early, "a strategy that takes embeddings"),
        (faults.locked, Early, "a strategy that takes embeddings"),
        (faults.frozen, Length, "a branch or a strategy"),
        (faults.scaled, Hundred, "an extractor, a branch or a strategy"),
        (faults.shuffled, CNN, "an extractor"),
        (faults.mislabelled, Length, "a corpus"),
        (faults.duplicated, int, "a corpus"),
        (faults.dead, "cnn", "an extractor, a branch or a strategy"),
    ],
)
def test_another_kind_is_refused(fault, cls, possible):
    with pytest.raises(TypeError, match=f"takes {possible}, and was given"):
        fault(cls)


def test_strengths_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="share from 0 to 1"):
        faults.dead(CNN, 1.5)
    with pytest.raises(ValueError, match="finite factor other than 0"):
        faults.scaled(CNN, 0.0)
    with pytest.raises(ValueError, match="dim >= 1"):
        faults.narrow(CNN, 0)
    with pytest.raises(ValueError, match="steps >= 0"):
        faults.late(CNN, -1)
    with pytest.raises(TypeError, match="--branch mel=cnn_dead"):
        faults.dead(CNN, modality="mel")
    with pytest.raises(ParameterError, match="this run has a, b, c"):
        faults.dead(Concat, modality="mel")(dict(DIMS), 4)


def test_both_ways_to_import_it_give_one_module():
    code = (
        "import fusion.testing.faults as a, sys; from fusion.testing import faults as b; "
        "assert a is b; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# -- in a whole run, with processes of its own ------------------------------------------

PLUGIN = """
from fusion import hookimpl
from fusion.plugins.branches.cnn import CNN
from fusion.plugins.corpora.demo import Demo
from fusion.plugins.extractors.mel import Mel
from fusion.plugins.strategies.gated import Gated
from fusion.testing import faults

Extractor = faults.shuffled(faults.scaled(Mel))
Branch = faults.dead(CNN, share=0.5)
Strategy = faults.late(faults.oversized(Gated, width=16), steps=4)
Corpus = faults.duplicated(faults.mislabelled(Demo))

@hookimpl
def fusion_extractors():
    return [Extractor]

@hookimpl
def fusion_branches():
    return [Branch]

@hookimpl
def fusion_strategies():
    return [Strategy]

@hookimpl
def fusion_corpora():
    return [Corpus]
"""


@pytest.mark.slow
def test_a_run_with_a_fault_of_every_kind(tmp_path):
    plugin = tmp_path / "my_faults.py"
    plugin.write_text(PLUGIN)
    small = [s.replace("mel.", "mel_scaled_shuffled.") for s in SMALL]
    corpus, mel = "demo_mislabelled_duplicated", "mel_scaled_shuffled"
    code = run_cli(["run", *small, "-p", str(plugin), "--data", corpus,
                    "--features", f"{mel},persistence",
                    "--branch", f"{mel}=cnn_dead", "--strategy", "gated_oversized_late",
                    "--set", f"{corpus}.speakers=6", "--set", f"{corpus}.clips=2", "--epochs", "2",
                    "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "run"),
                    "--quiet"])  # fmt: skip
    assert code == 0
    with (tmp_path / "run" / "clips.csv").open() as file:
        clips = list(csv.DictReader(file))
    assert len(clips) == 72 + 22
    assert sum(clip["name"].endswith("#copy") for clip in clips) == 22
    assert run_cli(["predict", str(tmp_path / "run"), clips[0]["path"]]) == 0
