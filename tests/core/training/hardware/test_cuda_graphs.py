"""Recorded branches, on a tape that behaves on the CPU like a CUDA graph.

Inputs and outputs are fixed tensors. A replay repeats the recorded work without the Python code.
"""

import contextlib
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from arrays import Rows
from torch import nn

from fusion import Balancer, Branch, Modality, Pass
from fusion.core.contracts.errors import TrainingError
from fusion.core.contracts.train_config import TrainConfig
from fusion.core.data.features import Features
from fusion.core.registry import profiler as clock
from fusion.core.registry.parameters import make
from fusion.core.registry.registry import Registry
from fusion.core.testing.graph_capture import CpuTape
from fusion.core.training.hardware import cuda_graphs as graphs
from fusion.core.training.hardware.cuda_graphs import Graphs, Recording
from fusion.core.training.model import BranchSpec, ModelSpec, build_model
from fusion.core.training.trainer import Trainer

REGISTRY = Registry()
SHAPE = (1, 12, 16)
CUDA = pytest.param("cuda", marks=pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no CUDA device here"))  # fmt: skip


class Counting(CpuTape):
    recorded = 0
    replayed = 0

    def record(self, call):
        type(self).recorded += 1
        contents, replay = super().record(call)

        def counted():
            type(self).replayed += 1
            replay()

        return contents, counted


@pytest.fixture(autouse=True)
def _new_tape(monkeypatch):
    monkeypatch.setattr(Counting, "recorded", 0)
    monkeypatch.setattr(Counting, "replayed", 0)


def cnn(device="cpu", **passed):
    torch.manual_seed(0)
    branch = make(REGISTRY.branch("cnn"), SHAPE,
                  settings={"dim": 5, "blocks": 2, "channels": 4, **passed},
                  owner="cnn")  # fmt: skip
    return branch.to(device)


def tape_for(device):
    return graphs.CudaTape if device == "cuda" else Counting


def batch(clips=6, device="cpu", seed=1):
    return torch.randn(clips, *SHAPE, generator=torch.Generator().manual_seed(seed)).to(device)


@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_outputs_gradients_and_statistics_equal_those_of_the_branch(device):
    plain, recorded = cnn(device, dropout=0.0), cnn(device, dropout=0.0)
    created = Graphs(tape_for(device))
    for seed in range(3):
        x = batch(device=device, seed=seed)
        outs = (plain(x), created.apply("a", recorded, recorded, x))
        torch.testing.assert_close(*outs)
        for out in outs:
            (out * torch.arange(5, device=device)).sum().backward()
    for (name, p), q in zip(plain.named_parameters(), recorded.parameters(), strict=True):
        torch.testing.assert_close(q.grad, p.grad, msg=name)
    for (name, a), b in zip(plain.named_buffers(), recorded.buffers(), strict=True):
        torch.testing.assert_close(b, a, msg=name)
    assert created.summary() == {"a": "recorded"}


@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_dropout_differs_between_replays_and_follows_the_seed(device):
    branch = cnn(device, dropout=0.5)
    created, x = Graphs(tape_for(device)), batch(device=device)
    torch.manual_seed(3)
    expected = [branch(x) for _ in range(2)]
    torch.manual_seed(3)
    result = [created.apply("a", branch, branch, x) for _ in range(2)]
    assert not torch.equal(*result)
    for one, other in zip(result, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_a_shape_is_recorded_once_and_replayed():
    branch, created = cnn(), Graphs(Counting)
    for clips in (6, 5, 6, 5):
        created.apply("a", branch, branch, batch(clips)).sum().backward()
    assert Counting.recorded == 4  # forward and backward, for two shapes
    checks = 2 * 2
    assert Counting.replayed == checks + 4 * 2


def test_two_backward_passes_through_one_forward_pass_add_up():
    branch, created = cnn(dropout=0.0), Graphs(Counting)
    x = batch()
    parameters = list(branch.parameters())
    expected = torch.autograd.grad(branch(x).square().sum(), parameters)
    out = created.apply("a", branch, branch, x)
    first, second = out[:, :2].square().sum(), out[:, 2:].square().sum()
    parts = [torch.autograd.grad(loss, parameters, retain_graph=True) for loss in (first, second)]
    for part, other, whole in zip(*parts, expected, strict=True):
        torch.testing.assert_close(part + other, whole)
    first.backward(retain_graph=True)
    second.backward()
    for parameter, whole in zip(parameters, expected, strict=True):
        torch.testing.assert_close(parameter.grad, whole)


def test_gradients_have_the_strides_of_their_parameters():
    branch, created = cnn(), Graphs(Counting)
    created.apply("a", branch, branch, batch()).sum().backward()
    for name, parameter in branch.named_parameters():
        assert parameter.grad.stride() == parameter.stride(), name


def test_outputs_of_a_batch_do_not_change_with_the_next_batch():
    branch, created = cnn(), Graphs(Counting)
    first = created.apply("a", branch, branch, batch(seed=1))
    stored = first.detach().clone()
    created.apply("a", branch, branch, batch(seed=2))
    assert torch.equal(first, stored)


def test_a_late_backward_pass_is_refused():
    branch, created = cnn(), Graphs(Counting)
    first = created.apply("a", branch, branch, batch(seed=1))
    created.apply("a", branch, branch, batch(seed=2))
    with pytest.raises(TrainingError, match="another batch") as caught:
        first.sum().backward()
    assert "train.graphs=false" in caught.value.hint


@pytest.mark.parametrize("change", ["frozen", "part frozen", "evaluated", "moved"])
def test_another_state_of_the_branch_is_recorded_anew(change):
    branch, created, x = cnn(dropout=0.0), Graphs(Counting), batch()
    created.apply("a", branch, branch, x)
    if change == "frozen":
        branch.requires_grad_(False)
    elif change == "part frozen":
        branch.embed.requires_grad_(False)
    elif change == "evaluated":
        branch.eval()
    else:
        with torch.no_grad():
            for parameter in branch.parameters():
                parameter.data = parameter.data + 1.0
    torch.testing.assert_close(created.apply("a", branch, branch, x), branch(x))
    assert Counting.recorded == (2 if change == "frozen" else 4)


def test_only_the_latest_recordings_are_kept():
    branch, created = cnn(), Graphs(Counting)
    for clips in range(2, 9):
        created.apply("a", branch, branch, batch(clips))
    assert len(created._recordings["a"]) == graphs._MOST


def test_branches_with_hooks_are_not_recorded():
    branch, created = cnn(), Graphs(Counting)
    handle = branch.embed.register_forward_hook(lambda module, passed, out: out + 70)
    assert created.apply("a", branch, branch, batch()).min() > 50
    assert created.summary() == {"a": "it has hooks, which a recording would skip"}
    handle.remove()
    assert created.apply("a", branch, branch, batch()).min() < 50
    assert Counting.recorded == 2


def test_inputs_that_require_a_gradient_receive_it():
    branch, created = cnn(), Graphs(Counting)
    x = batch().requires_grad_()
    created.apply("a", branch, branch, x).sum().backward()
    assert x.grad is not None
    assert Counting.recorded == 0


class Other(Branch):
    """Base of linear branches, most of which can't be recorded."""

    def __init__(self):
        super().__init__(SHAPE, 5)
        self.linear = nn.Linear(SHAPE[-1], 5)

    def forward(self, x):
        return self.linear(x.mean(dim=(1, 2)))


class Undeclared(Other):
    pass


class LooksAtNumbers(Other):
    recordable: ClassVar = True

    def forward(self, x):
        return super().forward(x) * float(x[0, 0, 0, 0])


class Chooses(Other):
    recordable: ClassVar = True

    def forward(self, x):
        return super().forward(x) + x[x > 0].mean()


class Draws(Other):
    recordable: ClassVar = True

    def forward(self, x):
        return super().forward(x) + float(np.random.default_rng().normal())


class Fixing(Counting):
    """A tape that replays without the Python code between the recorded work, as on a GPU."""

    def record(self, call):
        contents, replay = super().record(call)
        drawn = np.random.default_rng

        def fixed():
            np.random.default_rng = lambda: drawn(0)
            try:
                replay()
            finally:
                np.random.default_rng = drawn

        return contents, fixed


class Replaces(Other):
    recordable: ClassVar = True

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(SHAPE[-1]))

    def forward(self, x):
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(dim=(0, 1, 2))
        return super().forward(x - self.mean)


class Weightless(Other):
    recordable: ClassVar = True

    def forward(self, x):
        return x.mean(dim=(1, 2))


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (Undeclared, "Undeclared does not declare itself recordable"),
        (LooksAtNumbers, "the code reads a value of a tensor (.item(), float(x), if x > 0)"),
        (Chooses, "the shape of a result depends on values (x[x > 0], nonzero, unique)"),
        (Draws, "its recording gives other results than the branch"),
        (Replaces, "it replaces its own buffers or parameters: write into them, x.copy_(...)"),
    ],
)
def test_branches_that_can_not_be_recorded_run_as_usual(kind, why):
    branch, created = kind(), Graphs(Fixing)
    for seed in range(2):
        out = created.apply("a", branch, branch, batch(seed=seed))
        out.sum().backward()
    assert created.summary() == {"a": why}
    assert branch.linear.weight.grad is not None


def test_a_branch_that_replaces_its_buffers_updates_them_as_usual():
    plain, branch = Replaces(), Replaces()
    created = Graphs(Fixing)
    for seed in range(3):
        plain(batch(seed=seed))
        created.apply("a", branch, branch, batch(seed=seed))
    assert torch.equal(branch.mean, plain.mean)


def test_branches_without_trained_weights_are_not_recorded():
    branch, created = Weightless(), Graphs(Fixing)
    torch.testing.assert_close(created.apply("a", branch, branch, batch()), branch(batch()))
    assert created.summary() == {"a": "none of its weights is trained"}


def test_second_order_gradients_are_refused_with_a_message():
    branch, created = cnn(), Graphs(Counting)
    out = created.apply("a", branch, branch, batch())
    with pytest.raises(TrainingError, match="second-order gradient") as caught:
        torch.autograd.grad(out.sum(), list(branch.parameters()), create_graph=True)
    assert "train.graphs=false" in caught.value.hint


def test_a_refusal_of_the_device_falls_back_to_the_branch():
    class Refusing(Counting):
        def record(self, call):
            raise RuntimeError("operation not permitted when stream is capturing\nsomewhere")

    branch, created = cnn(dropout=0.0), Graphs(Refusing)
    statistics = [b.clone() for b in branch.buffers()]
    state = torch.get_rng_state()
    with torch.no_grad():
        expected = cnn(dropout=0.0)(batch())
    torch.set_rng_state(state)
    torch.testing.assert_close(created.apply("a", branch, branch, batch()), expected)
    assert created.plain == {"a": "operation not permitted when stream is capturing"}
    for before, after in zip(statistics, branch.buffers(), strict=True):
        assert not torch.equal(before, after)  # changed once, by the branch itself
    assert int(branch.blocks[1].num_batches_tracked) == 1


def test_recording_leaves_the_branch_unchanged():
    branch = cnn(dropout=0.5)
    before = [t.clone() for t in (*branch.parameters(), *branch.buffers())]
    state = torch.get_rng_state()
    created = Recording(branch, branch, batch(), Counting(torch.device("cpu")))
    assert created.matches(batch())
    assert torch.equal(torch.get_rng_state(), state)
    for one, other in zip(before, (*branch.parameters(), *branch.buffers()), strict=True):
        assert torch.equal(one, other)
    assert all(p.grad is None for p in branch.parameters())


def test_a_broken_branch_raises_its_own_error():
    class Broken(Other):
        recordable: ClassVar = True

        def forward(self, x):
            raise KeyError("mine")

    branch = Broken()
    with pytest.raises(KeyError, match="mine"):
        Graphs(Counting).apply("a", branch, branch, batch())


# -- complete trainings ----------------------------------------------------------------

SOUND = Modality("sound", (1, 8, 12), ("channel", "frequency", "time"))
IMAGE = Modality("image", (2, 6, 6))
CLIPS, CLASSES = 14, 3  # batches of five and four clips


class Twice(Balancer):
    """Two passes per batch, so that the batch is encoded twice."""

    def passes(self, step):
        return [Pass(), Pass()]


def trained(recorded, balancers=(), strategy="concat", device="cpu", precision="float32"):
    rng = np.random.default_rng(0)
    modalities = (SOUND, IMAGE)
    branches = tuple(BranchSpec(m, "cnn", {"blocks": 2, "channels": 4}) for m in modalities)
    model = build_model(ModelSpec(branches, CLASSES, 6, strategy), REGISTRY, 0).to(device)
    arrays = {m.name: rng.normal(size=(CLIPS, *m.shape)).astype(np.float32) for m in modalities}
    features = Features(
        {m.name: m for m in modalities}, {m: Rows(a) for m, a in arrays.items()},
        np.arange(CLIPS) % CLASSES, torch.device(device), resident_bytes=10**9,
    )  # fmt: skip
    everything = np.arange(CLIPS)
    created = [b if isinstance(b, Balancer) else make(REGISTRY.balancer(b), settings={}, owner=b)
            for b in balancers]  # fmt: skip
    config = TrainConfig(epochs=2, batch_size=5, precision=precision, graphs=device == "cuda")
    trainer = Trainer(model, features, everything, everything, config, balancers=created, seed=0)
    if device == "cpu":
        trainer.stepper.graphs = Graphs(Counting) if recorded else None
    elif not recorded:
        trainer.stepper.graphs = None
    progress = trainer.fit()
    return trainer, progress


@pytest.mark.parametrize(
    ("strategy", "balancers"),
    [
        ("concat", ()),
        ("gated", ("gradscale",)),
        ("gated", ("mmpareto",)),
        ("bottleneck", ()),
        ("bottleneck", ("mmpareto",)),
        ("concat", (Twice(),)),
        ("concat", ("mla",)),
        ("concat", ("reconboost",)),
        ("concat", ("dropout",)),
    ],
)
@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_a_training_with_recordings_equals_one_without(strategy, balancers, device):
    plain, _ = trained(False, balancers, strategy, device)
    trainer, _ = trained(True, balancers, strategy, device)
    # If a stage trains only one branch, the other branch is not recorded.
    assert set(trainer.stepper.graphs.summary().values()) == {"recorded"}
    assert device == "cuda" or Counting.replayed > 8
    for (name, a), b in zip(
        plain.model.state_dict().items(), trainer.model.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_weights_change_between_replays_in_both_precisions(precision):
    _, one = trained(False, precision=precision)
    recorded, other = trained(True, precision=precision)
    assert recorded.stepper.graphs.summary() == {"sound": "recorded", "image": "recorded"}
    losses = [[r["train_loss"] for r in p.history] for p in (one, other)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4 if precision == "float32" else 0.02)
    assert losses[1][0] != losses[1][1]


def test_recordings_are_used_only_on_cuda_without_compilation_or_profiling(monkeypatch):
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    assert Graphs.for_training(TrainConfig(), cuda) is not None
    assert Graphs.for_training(TrainConfig(), cpu) is None
    assert Graphs.for_training(TrainConfig(graphs=False), cuda) is None
    assert Graphs.for_training(TrainConfig(compile=True), cuda) is None
    monkeypatch.setattr(clock, "active", object())
    assert Graphs.for_training(TrainConfig(), cuda) is None


def test_nothing_is_recorded_after_a_broken_recording(monkeypatch):
    class Breaking(contextlib.nullcontext):
        def __exit__(self, *_):
            raise RuntimeError("capture_end")

    released = []
    monkeypatch.setattr(graphs.CudaTape, "_broken", False)
    monkeypatch.setattr(
        graphs.CudaTape, "_side_stream", lambda tape: contextlib.nullcontext("stream")
    )
    for name, fake in {
        "graph_pool_handle": lambda: (0, 1),
        "CUDAGraph": lambda: SimpleNamespace(replay=None),
        "graph": lambda graph, pool, stream: Breaking(),
    }.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    for name in ("_cuda_endAllocateToPool", "_cuda_releasePool"):
        monkeypatch.setattr(torch._C, name, lambda *passed: released.append(passed), raising=False)
    tape = graphs.CudaTape(torch.device("cuda:1"))
    with pytest.raises(RuntimeError, match="capture_end"):
        tape.record(lambda: None)
    assert released == [(1, (0, 1))] * 2
    with pytest.raises(RuntimeError, match="earlier recording"):
        tape.record(lambda: None)
