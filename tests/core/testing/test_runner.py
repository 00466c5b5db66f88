"""Going through a suite's checks without pytest."""

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from right_plugins import Fine, Maps, Picky, Plain, Present

from fusion import Balancer, Branch, Strategy
from fusion.core.contracts.errors import CorpusError, ParameterError, UnknownNameError
from fusion.core.registry.registry import Registry
from fusion.core.testing.checks import assertions, devices
from fusion.core.testing.costs import python_bytes, seconds_of, tensor_bytes
from fusion.core.testing.runner import checks_of, costs_of, refusal, run, suite_for
from fusion.core.testing.selection import chosen, some_recordings, suites_of, third_party
from fusion.core.testing.suite_index import SUITES, suite_class
from fusion.core.testing.suites import balancers as balancer_suite
from fusion.testing import BalancerSuite, StrategySuite


class Two(Strategy):
    """The paper had two modalities."""

    name = "two"

    def __init__(self, dims, num_classes):
        super().__init__()
        self.order = list(dims)
        self.head = torch.nn.Linear(sum(dims.values()), num_classes)

    def forward(self, inputs):
        print("joining")
        one, other = (inputs[m] for m in self.order)
        return self.head(torch.cat([one, other], dim=1))


class Named(Plain):
    """Not a name that can be typed."""

    name = "My Method"


def outcomes(suite):
    return {group.name: group.outcome for group in run(suite)}


def group_of(suite, name):
    return next(group for group in run(suite) if group.name == name)


def test_a_plugin_that_is_right_passes():
    for kind, plugin in (("strategy", Plain), ("strategy", Maps), ("branch", Fine)):
        assert "failed" not in outcomes(suite_for(kind, plugin)).values()


def test_every_check_runs_on_every_case():
    suite = suite_for("strategy", Plain)
    groups = {group.name: group for group in run(suite)}
    assert list(groups) == [
        name.removeprefix("test_").replace("_", " ") for name in checks_of(suite)
    ]
    cases = [str(case) for case in suite.cases()]
    assert [result.case for result in groups["output"].results] == cases
    assert [result.case for result in groups["takes"].results] == [""]
    assert all(r.seconds >= 0 for group in groups.values() for r in group.results)


def test_checks_of_the_kind_come_before_the_general_ones():
    found = checks_of(suite_for("strategy", Plain))
    assert found.index("test_name_and_version") < found.index("test_unequal_sizes")
    assert found.index("test_unequal_sizes") < found.index("test_output")
    assert set(found) == {name for name in dir(StrategySuite) if name.startswith("test_")}


def test_a_failure_has_words_and_the_plugins_own_lines(capsys):
    group = group_of(suite_for("strategy", Two), "output")
    assert group.outcome == "failed"
    assert [r.outcome for r in group.results] == ["failed", "passed", "failed", "passed", "failed"]
    first = group.results[0]
    assert first.fault.where == "Two (strategy 'two'), 1 modality of size 16, in training"
    assert first.fault.failed.endswith("not enough values to unpack (expected 2, got 1)")
    assert first.error == "ValueError: not enough values to unpack (expected 2, got 1)"
    assert len(first.frames) == 1
    line = "one, other = (inputs[m] for m in self.order)"
    assert first.frames[0].startswith("test_runner.py, line ")
    assert first.frames[0].endswith(f", in forward: {line}")
    said = capsys.readouterr()
    assert "joining" in said.err
    assert not said.out


def test_a_judgement_says_more_than_an_error_handed_on():
    sizes = group_of(suite_for("strategy", Two), "unequal sizes").results[0]
    output = group_of(suite_for("strategy", Two), "output").results[0]
    assert sizes.judged
    assert not output.judged
    assert "equal_dims" in sizes.fault.cause
    assert sizes.error


def test_what_is_skipped_says_why(monkeypatch):
    monkeypatch.setattr(devices, "gpu", lambda: None)
    group = group_of(suite_for("strategy", Plain), "gpu")
    assert group.outcome == "skipped"
    assert {result.reason for result in group.results} == {"no GPU here"}


def test_cases_that_can_not_be_made_are_one_failure():
    class Choosy(Fine):
        """Takes video."""

        @classmethod
        def accepts(cls, shape):
            return len(shape) == 4

    groups = list(run(suite_for("branch", Choosy)))
    assert groups[0].name == "cases"
    assert "accepts none of the shapes" in groups[0].results[0].fault.failed
    skipped = [group for group in groups if group.outcome == "skipped"]
    assert {group.results[0].reason for group in skipped} >= {"there is no case to try it on"}


def test_an_error_that_no_check_expects():
    class Broken(Balancer):
        """Its class is at fault."""

        name = "broken"
        adapt = 3

    found = group_of(suite_for("balancer", Broken), "adapt")
    assert found.outcome == "failed"


@pytest.mark.parametrize("kind", SUITES)
def test_every_kind_has_a_suite_whose_checks_are_told_apart(kind):
    suite = suite_class(kind)
    assert suite.kind.__name__.lower() == kind
    assert len(checks_of(suite())) > 8


def test_pytest_ends_checks_again_afterwards():
    list(run(suite_for("strategy", Named)))
    with pytest.raises(pytest.fail.Exception, match="its name is 'My Method'"):
        suite_for("strategy", Named).test_name_and_version()
    with assertions.without_pytest(), pytest.raises(assertions.CheckFailed):
        suite_for("strategy", Named).test_name_and_version()


def test_it_works_where_there_is_no_pytest(tmp_path):
    script = """
        import sys
        sys.modules["pytest"] = None  # as if it were not installed
        from fusion.core.testing.runner import run, suite_for
        from fusion.plugins.strategies.gated import Gated
        from fusion.plugins.extractors.mel import Mel
        for kind, plugin in (("strategy", Gated), ("extractor", Mel)):
            groups = list(run(suite_for(kind, plugin)))
            assert len(groups) > 20, groups
            assert not any(group.of("failed") for group in groups), groups
        print("fine")
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True,
        cwd=tmp_path, check=False,
    )  # fmt: skip
    assert ended.stdout == "fine\n", ended.stderr


# -- strategies that choose, adopt -----------------------------------------------------------


class Chooses(Picky):
    """Right: weighs classes by the validation clips.

    Parameters
    ----------
    weight : float
        A factor.
    """

    reads_validation = True

    def __init__(self, dims, num_classes, *, weight: float = 1.0):
        super().__init__(dims, num_classes, weight=weight)
        self.register_buffer("bias", torch.zeros(num_classes))

    def calibrate(self, inputs, labels):
        self.bias.copy_(torch.bincount(labels, minlength=len(self.bias)) / len(labels))

    def forward(self, inputs):
        return super().forward(inputs) + self.bias


class Silent(Chooses):
    """Does not say that it chooses."""

    reads_validation = False


class Forgets(Chooses):
    """Keeps what it chose where no checkpoint has it."""

    def calibrate(self, inputs, labels):
        self.extra = float(inputs[self.order[0]].mean())

    def forward(self, inputs):
        return super().forward(inputs) + getattr(self, "extra", 0.0)


class Trusts(Plain):
    """Right: a scale of the scores that is fitted to held-out clips."""

    name = "trusts"
    reads_validation = True

    def __init__(self, dims, num_classes):
        super().__init__(dims, num_classes)
        self.trust = torch.nn.Parameter(torch.zeros(()))

    def held_out_parameters(self):
        return (self.trust,)

    def forward(self, inputs):
        return (1 + self.trust) * super().forward(inputs)


class TrustsSilently(Trusts):
    """Does not say that it reads validation."""

    reads_validation = False


class Divides(Trusts):
    """Can't be at 0."""

    def forward(self, inputs):
        return super().forward(inputs) / self.trust


class Elsewhere(Trusts):
    """Names a parameter that it does not have."""

    def held_out_parameters(self):
        return (torch.nn.Parameter(torch.zeros(())),)


class Adopts(Plain):
    """Right: starts its head from the baselines' heads."""

    name = "adopts"
    needs_baselines = True

    @torch.no_grad()
    def adopt(self, baselines):
        heads = [self.head_of(baselines[m].model) for m in self.order]
        self.head.weight.copy_(torch.cat(heads, dim=1))

    def head_of(self, model):
        return model.strategy.linear.weight


class AdoptsInOrder(Adopts):
    """Takes the baselines as they come."""

    @torch.no_grad()
    def adopt(self, baselines):
        heads = [self.head_of(baseline.model) for baseline in baselines.values()]
        self.head.weight.copy_(torch.cat(heads, dim=1))


@pytest.mark.parametrize(
    ("plugin", "check", "words"),
    [
        (Chooses, "calibrate", ""),
        (Silent, "calibrate", "it has `calibrate`, and reads_validation is False"),
        (Forgets, "calibrate", "one that is given its state dict differ"),
        (Trusts, "calibrate", ""),
        (Trusts, "held out parameters", ""),
        (TrustsSilently, "calibrate", "it has `held_out_parameters`, and reads_validation is Fal"),
        (Divides, "held out parameters", "with held-out parameters of 0 the scores are not finite"),
        (Elsewhere, "held out parameters", "a value that is no parameter of the strategy"),
        (Adopts, "adopt", ""),
        (AdoptsInOrder, "adopt", "made to adopt the same baselines give scores that differ"),
    ],
)
def test_strategies_that_choose_and_adopt(plugin, check, words):
    group = group_of(suite_for("strategy", plugin), check)
    failed = group.of("failed")
    assert group.outcome == ("failed" if words else "passed"), failed
    assert not failed or words in failed[0].fault.failed


# -- GPUs: the checks themselves, on the CPU in a GPU's place ----------------------------------


def test_the_check_on_a_gpu_trains_and_compares(monkeypatch):
    monkeypatch.setattr(devices, "gpu", lambda: torch.device("cpu"))
    assert group_of(suite_for("strategy", Present), "gpu").outcome == "passed"

    class Unfilled(Plain):
        """On some devices its memory holds something else."""

        calls: ClassVar = []

        def forward(self, inputs):
            self.calls.append(1)
            return super().forward(inputs) + 100 * (len(self.calls) % 2)

    failed = group_of(suite_for("strategy", Unfilled), "gpu").of("failed")
    assert "differ from those on the CPU" in failed[0].fault.failed


def test_balancers_are_trained_on_a_gpu(monkeypatch):
    monkeypatch.setattr(balancer_suite, "gpu", lambda: torch.device("cpu"))

    class Idle(Balancer):
        """Does nothing."""

        name = "idle"

    class OnlyCPU(Idle):
        """Fails elsewhere."""

        def losses(self, losses, step):
            raise RuntimeError("Expected all tensors to be on the same device")

    assert group_of(suite_for("balancer", Idle), "gpu").outcome == "passed"
    failed = group_of(suite_for("balancer", OnlyCPU), "gpu").of("failed")
    assert "on cpu" in failed[0].fault.where
    assert "a tensor made without device=" in failed[0].fault.cause
    assert "test_gpu" in dir(BalancerSuite)


# -- costs -----------------------------------------------------------------------------------


def test_memory_of_tensors_is_the_most_at_a_time():
    def call():
        one = torch.zeros(1000)  # 4000 bytes
        two = one + 1  # 8000
        del one
        return two + 1  # again 8000

    assert 8000 <= tensor_bytes(call) < 8100  # and the number 1 as a tensor
    assert tensor_bytes(lambda: None) is None


def test_memory_of_arrays():
    import numpy as np

    assert 800_000 <= python_bytes(lambda: np.zeros(100_000)) < 810_000


def test_seconds_of_a_call():
    calls = []
    assert seconds_of(lambda: calls.append(1), times=3) < 0.01
    assert len(calls) == 4


@pytest.mark.parametrize(
    ("kind", "plugin", "words"),
    [("strategy", Plain, "forward and backward, 64 clips, 3 modalities of size 16, 8, 24"),
     ("branch", Fine, "forward and backward, 64 clips, shape (12, 20)")],
)  # fmt: skip
def test_costs_of_networks(kind, plugin, words):
    training, evaluation = costs_of(suite_for(kind, plugin))
    assert training.what == words
    assert training.seconds > evaluation.seconds > 0
    assert training.bytes > evaluation.bytes > 0
    weights = sum(p.numel() for p in suite_for(kind, plugin).build(
        suite_for(kind, plugin).cases()[-1]).parameters())  # fmt: skip
    assert training.note == f"{weights:,} weights"


def test_what_can_not_be_called_has_no_costs():
    class Refuses(Plain):
        """Refuses."""

        def __init__(self, dims, num_classes):
            raise RuntimeError("no")

    assert costs_of(suite_for("strategy", Refuses)) == []


# -- which plugins -----------------------------------------------------------------------------

PLUGIN = """
from fusion import {base}, hookimpl
class Mine({base}):
    '''Mine.'''
    name = "{name}"
@hookimpl
def {hook}(): return [Mine]
"""


def plugin_file(folder, name="mine", base="Balancer", hook="fusion_balancers"):
    file = Path(folder) / f"{name}_plugin.py"
    file.write_text(PLUGIN.format(base=base, name=name, hook=hook))
    return str(file)


def test_plugins_by_name_module_distribution_and_file(tmp_path):
    file = plugin_file(tmp_path)
    registry = Registry([file])
    assert [entry.name for entry in third_party(registry)] == ["mine"]
    for name in ("mine", "mine_plugin", file):
        assert [entry.name for entry in chosen(registry, [name])] == ["mine"]
    ladder = [entry.name for entry in chosen(registry, ["ladder", "levelled"])]
    assert ladder == ["rebuilt", "started", "adaptive", "pretrained", "levelled", "balanced",
                      "joined", "corrected", "averaged"]  # fmt: skip
    assert len(chosen(registry, ["modal-fusion"])) == len(registry.entries()) - 1
    with pytest.raises(UnknownNameError, match="no plugin 'gatd'. Did you mean 'gated'"):
        chosen(registry, ["gatd"])


def test_settings_become_parameters_of_the_suite():
    registry = Registry()
    pairs = suites_of(chosen(registry, ["gated", "mel"]), {"gated": {"hidden": "8"}})
    assert {entry.name: dict(suite.parameters) for entry, suite in pairs} == {
        "gated": {"hidden": 8}, "mel": {},
    }  # fmt: skip
    with pytest.raises(UnknownNameError, match="no plugin to check 'gate'"):
        suites_of(chosen(registry, ["gated"]), {"gate": {"hidden": "8"}})
    with pytest.raises(UnknownNameError, match="no parameter of gated 'hiden'"):
        suites_of(chosen(registry, ["gated"]), {"gated": {"hiden": "8"}})


def test_settings_beside_what_the_plugin_declares():
    registry = Registry()
    ((_, suite),) = suites_of(chosen(registry, ["demo"]), {"demo": {"clips": "2"}})
    assert suite.parameters == {"speakers": 3, "clips": 2}


def test_data_is_for_corpora_and_extractors(tmp_path):
    registry = Registry()
    for name in ("b.wav", "a.wav", "notes.txt"):
        (tmp_path / name).touch()
    ((_, mel),) = suites_of(chosen(registry, ["mel"]), {}, tmp_path)
    assert mel.recordings == [tmp_path / "a.wav", tmp_path / "b.wav"]
    ((_, ravdess),) = suites_of(chosen(registry, ["ravdess"]), {}, tmp_path)
    assert ravdess.sample == tmp_path
    with pytest.raises(ParameterError, match="--data is for a corpus or an extractor"):
        suites_of(chosen(registry, ["gated"]), {}, tmp_path)
    with pytest.raises(CorpusError, match="no such path"):
        suites_of(chosen(registry, ["mel"]), {}, tmp_path / "nowhere")


def test_recordings_are_spread_over_a_folder(tmp_path):
    for number in range(20):
        (tmp_path / f"{number:02}.wav").touch()
    found = [int(path.stem) for path in some_recordings(tmp_path)]
    assert found == [0, 2, 5, 7, 10, 12, 15, 17]
    assert some_recordings(tmp_path / "03.wav") == [tmp_path / "03.wav"]
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").touch()
    assert some_recordings(tmp_path / "texts") == [tmp_path / "texts" / "a.txt"]


def test_a_plugin_that_refuses_its_own_defaults():
    class Wants(Balancer):
        """Wants a path.

        Parameters
        ----------
        table : str
            A path.
        """

        name = "wants"

        def __init__(self, *, table: str = ""):
            if not table:
                raise ParameterError("wants.table is empty.")

    error = refusal(suite_for("balancer", Wants))
    assert error is not None
    assert error.message == "wants.table is empty."
    assert refusal(suite_for("balancer", Wants, parameters={"table": "x"})) is None


def test_branches_are_networks_that_show_it_themselves():
    class Refusing(Branch):
        """Refuses."""

        name = "refusing"

        def __init__(self, shape, dim: int = 8):
            raise ParameterError("No.")

    assert refusal(suite_for("branch", Refusing)) is None
