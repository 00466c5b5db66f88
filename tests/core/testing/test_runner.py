"""Running the checks of a suite without pytest."""

import subprocess
import sys
import textwrap

import pytest
import torch
from right_plugins import Fine, Maps, Plain
from suites import group_of

from fusion import Balancer, Branch, Strategy
from fusion.core.contracts.errors import ParameterError
from fusion.core.testing.checks import assertions, devices
from fusion.core.testing.runner import checks_of, refusal, run, suite_for
from fusion.testing import StrategySuite


class Two(Strategy):
    """Supports two modalities only, as in the paper."""

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
    """A name that can't be typed on the command line."""

    name = "My Method"


def outcomes(suite):
    return {group.name: group.outcome for group in run(suite)}


def test_valid_plugins_pass():
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


def test_general_checks_come_first():
    matches = checks_of(suite_for("strategy", Plain))
    assert matches.index("test_name_and_version") < matches.index("test_unequal_sizes")
    assert matches.index("test_unequal_sizes") < matches.index("test_output")
    assert set(matches) == {name for name in dir(StrategySuite) if name.startswith("test_")}


def test_a_failure_has_a_message_and_the_lines_of_the_plugin(capsys):
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
    message = capsys.readouterr()
    assert "joining" in message.err
    assert not message.out


def test_only_explicit_failures_are_judged():
    sizes = group_of(suite_for("strategy", Two), "unequal sizes").results[0]
    output = group_of(suite_for("strategy", Two), "output").results[0]
    assert sizes.judged
    assert not output.judged
    assert "equal_dims" in sizes.fault.cause
    assert sizes.error


def test_skipped_checks_have_a_reason(monkeypatch):
    monkeypatch.setattr(devices, "gpu", lambda: None)
    group = group_of(suite_for("strategy", Plain), "gpu")
    assert group.outcome == "skipped"
    assert {result.reason for result in group.results} == {"no GPU is available"}


def test_failing_cases_are_one_failure():
    class Choosy(Fine):
        """Accepts video only."""

        @classmethod
        def accepts(cls, shape):
            return len(shape) == 4

    groups = list(run(suite_for("branch", Choosy)))
    assert groups[0].name == "cases"
    assert "accepts none of the shapes" in groups[0].results[0].fault.failed
    skipped = [group for group in groups if group.outcome == "skipped"]
    assert {group.results[0].reason for group in skipped} >= {"no case to run this check on"}


def test_an_unexpected_error_fails_the_check():
    class Broken(Balancer):
        """A number instead of the method `adapt`."""

        name = "broken"
        adapt = 3

    matches = group_of(suite_for("balancer", Broken), "adapt")
    assert matches.outcome == "failed"


def test_pytest_is_used_again_afterwards():
    list(run(suite_for("strategy", Named)))
    with pytest.raises(pytest.fail.Exception, match="`name` is 'My Method'"):
        suite_for("strategy", Named).test_name_and_version()
    with assertions.without_pytest(), pytest.raises(assertions.CheckFailed):
        suite_for("strategy", Named).test_name_and_version()


@pytest.mark.slow
def test_the_runner_works_without_pytest(tmp_path):
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


def test_a_plugin_that_refuses_its_own_defaults():
    class Wants(Balancer):
        """Needs a path.

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


def test_refusals_of_branches_are_left_to_the_checks():
    class Refusing(Branch):
        """Refuses every shape."""

        name = "refusing"

        def __init__(self, shape, dim: int = 8):
            raise ParameterError("No.")

    assert refusal(suite_for("branch", Refusing)) is None
