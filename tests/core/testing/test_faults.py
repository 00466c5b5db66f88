"""Each fault does what it says, by numbers; and a faulty plugin is a plugin like any other."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from arrays import Rows
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import SMALL
from suites import failures
from torch.nn import functional

from fusion import Branch, Clip, Corpus, Extractor, Modality, Recording
from fusion.core.cli import run_cli
from fusion.core.contracts.errors import ParameterError, RecordingError
from fusion.core.contracts.train_config import TrainConfig
from fusion.core.data.extraction import fingerprint_of, make_extractor
from fusion.core.data.features import Features
from fusion.core.registry.parameters import parameters_of
from fusion.core.testing.faults.faulty_data import permutation
from fusion.core.training.model import FusionModel
from fusion.core.training.trainer import Trainer
from fusion.plugins.branches.cnn import CNN
from fusion.plugins.branches.mlp import MLP
from fusion.plugins.strategies.concat import Concat
from fusion.plugins.strategies.early import Early
from fusion.plugins.strategies.gated import Gated
from fusion.testing import BranchSuite, StrategySuite, faults

DIMS = {"a": 6, "b": 6, "c": 6}


class Length(Extractor):
    """The number of letters of a recording's name, three times."""

    name = "length"

    def __init__(self, *, offset: float = 1.0) -> None:
        self.shape = (3,)
        self.offset = offset

    def extract(self, recording):
        return np.full(3, len(recording.path.stem) + self.offset, np.float32)


class Hundred(Corpus):
    """Ten speakers say ten clips each, of four labels, one of them unknown to runs."""

    name = "hundred"
    version = "7"
    labels = {"happy": "happy", "sad": "sad", "angry": "angry"}  # noqa: RUF012

    @classmethod
    def detect(cls, path):
        return True

    def clips(self):
        for number in range(100):
            label = ("happy", "sad", "angry", "calm")[number % 4]
            name = f"{number:03d}.wav"
            yield Clip(Recording(Path(name)), name, label, f"s{number // 10}", "hundred")


def pair(fault, cls=CNN, shape=(1, 16, 24), seed=0, **given):
    """A faulty branch and a healthy one of the same weights, in evaluation mode."""
    made = []
    for kind in (fault(cls), cls):
        torch.manual_seed(seed)
        made.append(kind(shape, 6, **given).eval())
    return made


def inputs(shape=(1, 16, 24), size=4):
    return torch.randn(size, *shape, generator=torch.Generator().manual_seed(1))


def embeddings(size=5):
    generator = torch.Generator().manual_seed(2)
    return {m: torch.randn(size, d, generator=generator) for m, d in DIMS.items()}


def joined(fault, cls=Concat, seed=0, **given):
    """A faulty strategy and a healthy one of the same weights."""
    made = []
    for kind in (fault(cls), cls):
        torch.manual_seed(seed)
        made.append(kind(dict(DIMS), 4, **given).eval())
    return made


# -- scaled, dead, biased: the numbers --------------------------------------------------


def test_scaled_multiplies_embedding_and_maps_once():
    faulty, healthy = pair(lambda cls: faults.scaled(cls, 1000.0))
    x = inputs()
    assert torch.equal(faulty(x), 1000 * healthy(x))
    assert torch.equal(faulty.maps(x), 1000 * healthy.maps(x))


def test_a_fault_of_a_strategy_strikes_one_modality():
    def only(factor):
        return lambda cls: faults.scaled(cls, factor, modality="b")

    faulty, healthy = joined(only(10.0))
    given = embeddings()
    assert torch.equal(faulty(given), healthy({**given, "b": 10 * given["b"]}))
    last, healthy = joined(lambda cls: faults.scaled(cls, 10.0))
    assert torch.equal(last(given), healthy({**given, "c": 10 * given["c"]}))
    every, healthy = joined(lambda cls: faults.scaled(cls, 10.0, modality="*"))
    assert torch.equal(every(given), healthy({m: 10 * z for m, z in given.items()}))


def test_a_strategy_keeps_its_weights_and_its_knowledge_of_absence():
    cls = faults.dead(Gated, modality="a")
    assert cls.accepts_missing == Gated.accepts_missing
    faulty, healthy = joined(lambda cls: faults.dead(cls, modality="a"), Gated)
    given, present = embeddings(), torch.tensor([[True, True, False]] * 5)
    blank = {**given, "a": torch.zeros_like(given["a"])}
    assert torch.equal(faulty(given, present), healthy(blank, present))
    assert torch.equal(faulty.modality_weights(given), healthy.modality_weights(blank))


@given(share=st.floats(0, 1), size=st.integers(1, 40))
@settings(max_examples=30, deadline=None)
def test_dead_silences_exactly_that_share(share, size):
    cls = faults.dead(MLP, share)
    branch = cls((5,), size).eval()
    x = torch.randn(7, 5, requires_grad=True)
    embedding = branch.forward(x)
    # relu leaves zeros of its own: a constant shows which units the fault itself silences.
    silenced = (branch.alter(torch.ones_like(embedding)) == 0).all(dim=0)
    assert int(silenced.sum()) == round(share * size)
    assert not embedding[:, silenced].any()


def test_no_gradient_passes_a_dead_branch():
    branch = faults.dead(CNN)((1, 16, 24), 6)
    branch(inputs()).sum().backward()
    assert all(not p.grad.any() for p in branch.parameters() if p.grad is not None)
    assert not branch.maps(inputs()).any()


def test_biased_adds_the_same_signs_every_time():
    faulty, healthy = pair(lambda cls: faults.biased(cls, 100.0))
    x = inputs()
    constant = faulty(x) - healthy(x)  # (4, 6)
    assert torch.allclose(constant.abs(), torch.full_like(constant, 100.0))
    assert torch.equal(constant.sign(), constant[:1].sign().expand_as(constant))
    assert constant[0].norm().item() == pytest.approx(100 * 6**0.5, rel=1e-6)
    again, _ = pair(lambda cls: faults.biased(cls, 100.0), seed=5)
    assert torch.equal(again.alter(torch.zeros(1, 6)), faulty.alter(torch.zeros(1, 6)))


# -- frozen, starved, late: what is learned ---------------------------------------------


def trained(branch, strategy=Concat, epochs=2):
    """A model of two modalities, trained; and its weights before."""
    rng = np.random.default_rng(0)
    targets = np.arange(60) % 3
    arrays = {m: rng.normal(size=(60, 5)).astype(np.float32) + targets[:, None] for m in "ab"}
    modalities = {m: Modality(m, (5,)) for m in "ab"}
    features = Features(modalities, {m: Rows(a) for m, a in arrays.items()}, targets,
                        torch.device("cpu"), resident_bytes=10**9)  # fmt: skip
    torch.manual_seed(0)
    branches = {"a": MLP((5,), 6, hidden=8), "b": branch((5,), 6, hidden=8)}
    model = FusionModel(branches, strategy({"a": 6, "b": 6}, 3), 3)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    config = TrainConfig(epochs=epochs, batch_size=10, dim=6, average=0.0, precision="float32")
    Trainer(model, features, np.arange(45), np.arange(45, 60), config).fit()
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    return model, moved


def test_frozen_weights_are_equal_after_training():
    model, moved = trained(faults.frozen(MLP))
    names = {n for n, _ in model.named_parameters()}
    assert moved == {n for n in names if not n.startswith("branches.b.")}


def test_frozen_holds_the_first_layers_up_to_its_share():
    # 5*8 weights, 8 + 8 of the normalisation, 8*6 + 6 of the embedding: 110 in all.
    for share, held in ((0.0, 0), (0.3, 40), (0.4, 48), (0.6, 104), (1.0, 110)):
        branch = faults.frozen(MLP, share)((5,), 6, hidden=8)
        assert sum(p.numel() for p in branch.parameters() if not p.requires_grad) == held
        flags = [p.requires_grad for p in branch.parameters()]
        assert flags == sorted(flags)


def test_starved_scales_the_gradient_exactly():
    faulty, healthy = pair(lambda cls: faults.starved(cls, 0.25), MLP, (5,))
    x = inputs((5,))
    assert torch.equal(faulty(x), healthy(x))
    for branch in (faulty, healthy):
        branch(x).square().sum().backward()
    for p, q in zip(faulty.parameters(), healthy.parameters(), strict=True):
        assert torch.equal(p.grad, 0.25 * q.grad)


def test_a_starved_modality_stands_still_under_adamw_only_near_its_epsilon():
    def travel(factor):
        strategy = faults.starved(Concat, factor, modality="b")
        torch.manual_seed(0)
        start = {n: p.clone() for n, p in trained_start().named_parameters()}
        model, _ = trained(MLP, strategy)
        key = "branches.b.embed.weight"
        return (dict(model.named_parameters())[key] - start["embed.weight"]).norm().item()

    def trained_start():
        MLP((5,), 6, hidden=8)  # the other branch is made first
        return MLP((5,), 6, hidden=8)

    full, same, still = travel(1.0), travel(1e-3), travel(1e-12)
    assert same == pytest.approx(full, rel=0.2)
    assert still < 0.02 * full


def test_late_lets_the_gradient_through_after_its_steps():
    strategy = faults.late(Concat, 2, modality="*")({"a": 6, "b": 6}, 4)
    reached = []
    for _ in range(4):
        given = {m: torch.randn(3, 6, requires_grad=True) for m in "ab"}
        strategy.eval()
        strategy(given)  # validation does not count
        strategy.train()
        with torch.no_grad():
            strategy(given)  # nor does a look
        strategy(given).sum().backward()
        reached.append([given[m].grad is not None for m in "ab"])
    assert reached == [[False] * 2, [False] * 2, [True] * 2, [True] * 2]
    resumed = faults.late(Concat, 2, modality="*")({"a": 6, "b": 6}, 4)
    resumed.load_state_dict(strategy.state_dict())
    given = {m: torch.randn(3, 6, requires_grad=True) for m in "ab"}
    resumed(given).sum().backward()
    assert given["a"].grad is not None


def test_late_branches_do_not_move_in_a_training_that_ends_before():
    _, moved = trained(MLP, faults.late(Concat, 10**6, modality="b"))
    assert moved
    assert not any(name.startswith("branches.b.") for name in moved)
    assert any(name.startswith("branches.a.") for name in moved)


# -- narrow, oversized: what a network can hold -----------------------------------------


@pytest.mark.parametrize("dim", [1, 3])
def test_narrow_leaves_a_rank_of_dim(dim):
    branch = faults.narrow(CNN, dim)((1, 16, 24), 6)
    seen = branch.fault.see(inputs(size=50))
    assert seen.shape == (50, 1, 16, 24)
    assert torch.linalg.matrix_rank(seen.flatten(1)).item() == dim
    x = torch.arange(6.0).view(1, 1, 2, 3)
    expected = {1: [2.5] * 6, 3: [0.5, 0.5, 2.5, 2.5, 4.5, 4.5]}[dim]
    assert branch.fault.see(x).flatten().tolist() == expected


def test_oversized_has_the_weights_it_says():
    strategy = faults.oversized(Concat, 32)(dict(DIMS), 4)
    own = (18 * 32 + 32) + (32 * 32 + 32) + (32 * 18 + 18)
    assert sum(p.numel() for p in strategy.mix.parameters()) == own
    assert strategy(embeddings()).shape == (5, 4)
    torch.manual_seed(0)
    one = faults.oversized(Gated, 8)({"a": 6}, 4)
    assert one({"a": torch.randn(3, 6)}).shape == (3, 4)


def test_locked_scores_are_mostly_those_of_one_modality():
    torch.manual_seed(0)
    strategy = faults.locked(Gated, 0.9, modality="a")({"a": 6, "b": 6}, 4)
    inputs = {m: torch.randn(3, 6) for m in "ab"}
    own, others = strategy.own(inputs["a"]), strategy.inner(inputs)
    assert torch.allclose(strategy(inputs), 0.9 * own + 0.1 * others.tanh())
    weights = strategy.modality_weights(inputs)
    assert torch.allclose(weights.sum(dim=1), torch.ones(3)) and (weights[:, 0] > 0.9).all()
    assert strategy.held_out_parameters() == strategy.inner.held_out_parameters() != ()
    assert faults.locked(Concat, 0.9)(dict(DIMS), 4).modality_weights(embeddings()) is None


def test_oversized_learns_random_labels_by_heart():
    generator = torch.Generator().manual_seed(0)
    given = {m: torch.randn(40, d, generator=generator) for m, d in DIMS.items()}
    labels = torch.randint(4, (40,), generator=generator)

    def loss(cls):
        torch.manual_seed(0)
        strategy = cls(dict(DIMS), 4)
        optimizer = torch.optim.AdamW(strategy.parameters(), lr=3e-3)
        for _ in range(60):
            value = functional.cross_entropy(strategy(given), labels)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
        return value.item()

    assert loss(faults.oversized(Concat, 256)) < 0.05 < 0.5 < loss(Concat)


# -- extractors -------------------------------------------------------------------------


def folder_of(tmp_path, speakers=4, each=5):
    for s in range(speakers):
        (tmp_path / f"s{s}").mkdir()
        for i in range(each):
            (tmp_path / f"s{s}" / f"{'x' * (5 * s + i + 1)}.wav").touch()
    return sorted(tmp_path.glob("*/*.wav"))


def test_scaled_and_dead_extractors_change_the_array(tmp_path):
    files = folder_of(tmp_path)
    healthy = [Length().extract(Recording(f)) for f in files]
    made = faults.scaled(Length, 50.0)(offset=1.0)
    for file, array in zip(files, healthy, strict=True):
        assert np.array_equal(made.check(made.extract(Recording(file))), 50 * array)
    dead = faults.dead(Length, 0.5)()
    zero = [not dead.extract(Recording(f)).any() for f in files]
    assert 0 < sum(zero) < len(files)
    assert zero == [not dead.extract(Recording(f)).any() for f in files]
    whole = faults.dead(Length)()
    assert not any(whole.extract(Recording(f)).any() for f in files)


@given(share=st.floats(0, 1), seed=st.integers(0, 50))
@settings(max_examples=25, deadline=None)
def test_shuffled_is_a_permutation_of_its_share(tmp_path_factory, share, seed):
    root = tmp_path_factory.mktemp("files")
    files = folder_of(root, speakers=2, each=4)
    moved = permutation(root, share, seed)
    after = [moved.get(f, f) for f in files]
    assert sorted(after) == files  # a bijection
    count = round(share * len(files))
    changed = sum(a != b for a, b in zip(files, after, strict=True))
    assert changed == (count if count > 1 else 0)  # none keeps its own place


def test_shuffled_takes_the_array_of_another_recording(tmp_path):
    files = folder_of(tmp_path)
    made = faults.shuffled(Length, seed=3)()
    own = [float(Length().extract(Recording(f))[0]) for f in files]
    found = [float(made.extract(Recording(f))[0]) for f in files]
    assert sorted(found) == sorted(own)
    assert all(a != b for a, b in zip(own, found, strict=True))
    half = faults.shuffled(Length, 0.5, 3)()
    assert sum(half.extract(Recording(f))[0] != o for f, o in zip(files, own, strict=True)) == 10
    with pytest.raises(RecordingError, match="part of one"):
        made.extract(Recording(files[0], start=1.0))


def test_every_fault_and_strength_has_its_own_fingerprint():
    kinds = [
        Length,
        faults.scaled(Length, 10.0),
        faults.scaled(Length, 100.0),
        faults.scaled(Length, 10.0, name="length_scaled"),  # the same as the second
        faults.shuffled(Length),
        faults.shuffled(Length, seed=1),
        faults.shuffled(Length, 0.5),
        faults.dead(Length),
        faults.scaled(faults.dead(Length)),
    ]
    ids = [fingerprint_of(make_extractor(cls, {})).id for cls in kinds]
    assert len(set(ids)) == len(kinds) - 1
    assert ids[1] == ids[3]


# -- corpora ----------------------------------------------------------------------------


def test_mislabelled_changes_exactly_its_share():
    healthy = list(Hundred(None).clips())
    cls = faults.mislabelled(Hundred, 0.4, seed=1)
    clips = list(cls(None).clips())
    changed = [
        (a.label, b.label) for a, b in zip(healthy, clips, strict=True) if a.label != b.label
    ]
    assert len(changed) == 30  # of the 75 whose label a run uses
    assert {label for pair in changed for label in pair} == {"happy", "sad", "angry"}
    assert {clip.corpus for clip in clips} == {"hundred_mislabelled"}
    assert clips == list(cls(None).clips())
    assert clips != list(faults.mislabelled(Hundred, 0.4, seed=2)(None).clips())


def test_duplicated_lists_clips_again_under_another_speaker():
    clips = list(faults.duplicated(Hundred, 0.3)(None).clips())
    assert len(clips) == 130
    assert len({clip.name for clip in clips}) == 130
    by_name = {clip.name: clip for clip in clips}
    for copy in clips[100:]:
        original = by_name[copy.name.removesuffix("#copy")]
        assert copy.recording == original.recording
        assert copy.label == original.label
        assert copy.speaker != original.speaker


def test_no_path_is_recognised_as_a_faulty_corpus():
    cls = faults.duplicated(Hundred)
    assert Hundred.detect(Path())
    assert not cls.detect(Path())
    assert (cls.labels, cls.version) == (Hundred.labels, "7")  # the demo's folder hangs on it


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
