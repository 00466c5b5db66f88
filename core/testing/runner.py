"""Runner that goes through a conformance suite without pytest.

>>> for group in run(suite_for("strategy", Sum)):
...     print(group.name, group.outcome)
"""

from __future__ import annotations

import contextlib
import inspect
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..contracts import Plugin
from ..contracts.errors import ParameterError
from ..registry.parameters import make
from .checks.assertions import CheckEnd, CheckFailed, CheckSkipped, Fault, describe, without_pytest
from .checks.declarations import PluginSuite
from .costs import Cost
from .suite_index import suite_class

Outcome = Literal["passed", "failed", "skipped"]
_FRAMES = 2  # number of innermost frames of the plugin's own code that a result keeps


@dataclass(frozen=True, slots=True)
class Result:
    """Result of one check on one case.

    Attributes
    ----------
    case : str
        Name of the case; empty for a check without cases.
    outcome : {"passed", "failed", "skipped"}
        Whether the check passed, failed or was skipped.
    seconds : float
        Duration of the check.
    reason : str
        Reason for skipping the check; empty if the check was not skipped.
    fault : Fault or None
        Description of the failure for the plugin's author; None if the check did not fail.
    frames : tuple of str
        Lines of the plugin's own files through which an exception was raised, innermost last.
    error : str
        Type and message of the plugin's exception; empty if the plugin raised none.
    judged : bool
        True if the check itself found the fault; False if the check only reports an exception of
        the plugin.
    """

    case: str
    outcome: Outcome
    seconds: float
    reason: str = ""
    fault: Fault | None = None
    frames: tuple[str, ...] = ()
    error: str = ""
    judged: bool = True


@dataclass(frozen=True, slots=True)
class Group:
    """Results of one check on all its cases.

    Attributes
    ----------
    name : str
        Name of the check in words.
    results : sequence of Result
        One result per case.
    """

    name: str
    results: Sequence[Result] = field(default_factory=list)

    @property
    def outcome(self) -> Outcome:
        """Outcome of the check: "failed" if any result failed, else "passed" if any passed."""
        outcomes = {result.outcome for result in self.results}
        if "failed" in outcomes:
            return "failed"
        return "passed" if "passed" in outcomes else "skipped"

    def of(self, outcome: Outcome) -> list[Result]:
        """Return the results that have the given outcome."""
        return [result for result in self.results if result.outcome == outcome]


def suite_for(kind: str, plugin: type, **attributes: Any) -> PluginSuite:
    """Return a suite for a plugin class, as a test class of the plugin's author would define it.

    Parameters
    ----------
    kind : str
        Kind of the plugin, such as ``"strategy"``.
    plugin : type
        Plugin class to check.
    attributes
        Attributes of the suite, such as ``parameters``, ``recordings`` or ``sample``.
    """
    base = suite_class(kind)
    name = f"Test{getattr(plugin, '__name__', 'It')}"
    suite_cls: type[PluginSuite] = type(name, (base,), {"plugin": plugin, **attributes})
    return suite_cls()


def checks_of(suite: PluginSuite) -> list[str]:
    """Return the names of a suite's checks in the order in which to run them.

    The checks for all kinds of plugins come first. The checks of the plugin's kind follow, the most
    specific class first, because a specific check describes a fault better than a general one.
    """
    special = [cls for cls in type(suite).__mro__ if cls is not PluginSuite]
    names: dict[str, None] = {}
    for cls in (PluginSuite, *special):
        names |= dict.fromkeys(name for name in vars(cls) if name.startswith("test_"))
    return list(names)


def run(suite: PluginSuite, *, on_check: Callable[[str], object] | None = None) -> Iterator[Group]:
    """Yield the results of each check as soon as the check has finished all its cases.

    `on_check` is called with the name of a check before the check starts.
    """
    cases, group = _cases(suite)
    if group is not None:
        yield group
    for name in checks_of(suite):
        words = name.removeprefix("test_").replace("_", " ")
        check = getattr(suite, name)
        by_case = "case" in inspect.signature(check).parameters
        if on_check is not None:
            on_check(words)
        if not by_case:
            yield Group(words, [_result(suite, "", check)])
        elif cases:
            yield Group(words, [_result(suite, str(case), check, case) for case in cases])
        else:
            yield Group(words, [Result("", "skipped", 0.0, "no case to run this check on")])


def refusal(suite: PluginSuite) -> ParameterError | None:
    """Return the ParameterError that making a plugin with its defaults raises, or None.

    Return None if the suite has parameters. Return None also for branches, strategies and corpora,
    because their own checks report such errors.
    """
    if suite.parameters or suite.passed:
        return None
    try:
        with without_pytest(), contextlib.redirect_stdout(sys.stderr):
            make(suite.plugin, settings={}, owner=suite.plugin.name)
    except ParameterError as error:
        return error
    except (Exception, SystemExit):
        return None  # the checks report other exceptions
    return None


def costs_of(suite: PluginSuite) -> list[Cost]:
    """Return the costs of calls of the plugin; empty if a call fails, which the checks report."""
    with without_pytest(), contextlib.redirect_stdout(sys.stderr):
        try:
            return list(suite.costs())
        except (Exception, CheckEnd):
            return []


def _cases(suite: PluginSuite) -> tuple[Sequence[Any], Group | None]:
    """Return the suite's cases and, if making the cases failed, a group with that failure."""
    cases: list[Any] = []
    result = _result(suite, "", lambda: cases.extend(suite.cases()))
    return cases, None if result.outcome == "passed" else Group("cases", [result])


def _result(suite: PluginSuite, case: str, check: Callable[..., object], *arguments: Any) -> Result:
    started = time.perf_counter()

    def ended(outcome: Outcome, **more: Any) -> Result:
        return Result(case, outcome, time.perf_counter() - started, **more)

    try:
        # Output that a plugin prints must not mix with the lines of the report.
        with without_pytest(), contextlib.redirect_stdout(sys.stderr):
            check(*arguments)
    except CheckSkipped as end:
        return ended("skipped", reason=str(end))
    except CheckFailed as end:
        raised = _raised(suite, end.__cause__ or end.__context__)
        return ended("failed", fault=end.fault, judged=end.__cause__ is None, **raised)
    except (Exception, SystemExit) as error:
        where = f"{suite.where}, {case}" if case else suite.where
        fault = Fault(where, f"raises {describe(error)}", "no exception")
        return ended("failed", fault=fault, judged=False, **_raised(suite, error))
    return ended("passed")


def _raised(suite: PluginSuite, error: BaseException | None) -> dict[str, Any]:
    """Return the fields `frames` and `error` of a result; empty if the plugin raised nothing."""
    if error is None:
        return {}
    return {"frames": _frames(error, suite.plugin), "error": describe(error)}


def _frames(error: BaseException, plugin: type) -> tuple[str, ...]:
    """Return the innermost frames of an error, or of its cause, in the plugin's own files."""
    own = _files(plugin)
    frames: list[str] = []
    cause: BaseException | None = error
    while cause is not None and not frames:
        frames = [
            f"{Path(frame.filename).name}, line {frame.lineno}, in {frame.name}: {frame.line}"
            for frame in traceback.extract_tb(cause.__traceback__)
            if frame.filename in own
        ]
        cause = cause.__cause__
    return tuple(frames[-_FRAMES:])


def _files(plugin: type) -> set[str]:
    """Return the files of the plugin's class and base classes, without fusion's contracts."""
    contracts = __name__.partition(".")[0] + ".core."
    classes = (cls for cls in plugin.__mro__ if issubclass(cls, Plugin))
    modules = {cls.__module__ for cls in classes if not cls.__module__.startswith(contracts)}
    files = (getattr(sys.modules.get(module), "__file__", None) for module in modules)
    return {file for file in files if file}
