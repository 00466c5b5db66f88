"""Runner of a conformance suite without pytest.

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
from .checks.assertions import CheckEnd, CheckFailed, CheckSkipped, Fault, said, without_pytest
from .checks.declarations import PluginSuite
from .costs import Cost
from .suite_index import suite_class

Outcome = Literal["passed", "failed", "skipped"]
_FRAMES = 2  # of the plugin's own code, the innermost ones


@dataclass(frozen=True, slots=True)
class Result:
    """How one check ended, on one case.

    Attributes
    ----------
    case : str
        What it was tried on; empty for a check without cases.
    outcome : {"passed", "failed", "skipped"}
        How it ended.
    seconds : float
        How long it took.
    reason : str
        Why it was skipped.
    fault : Fault or None
        What failed, for the plugin's author.
    frames : tuple of str
        Where in the plugin's own files an exception was raised, innermost last.
    error : str
        What the plugin raised; empty where it raised nothing.
    judged : bool
        Whether the check tells what is wrong, where other ones would only hand on the error.
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
    """A check, on all its cases.

    Attributes
    ----------
    name : str
        The check, in words.
    results : list of Result
        One for each case.
    """

    name: str
    results: Sequence[Result] = field(default_factory=list)

    @property
    def outcome(self) -> Outcome:
        """Failed where one failed; skipped where all were."""
        outcomes = {result.outcome for result in self.results}
        if "failed" in outcomes:
            return "failed"
        return "passed" if "passed" in outcomes else "skipped"

    def of(self, outcome: Outcome) -> list[Result]:
        return [result for result in self.results if result.outcome == outcome]


def suite_for(kind: str, plugin: type, **attributes: Any) -> PluginSuite:
    """The suite of a plugin, as a test class of its author would be.

    Parameters
    ----------
    attributes
        Of the suite: ``parameters``, ``recordings``, ``sample`` ...
    """
    base = suite_class(kind)
    name = f"Test{getattr(plugin, '__name__', 'It')}"
    made: type[PluginSuite] = type(name, (base,), {"plugin": plugin, **attributes})
    return made()


def checks_of(suite: PluginSuite) -> list[str]:
    """Names of its checks: those of every plugin, then those of its kind, the most special first.

    What a check of the kind says of a fault is of more use than what the general ones say.
    """
    special = [cls for cls in type(suite).__mro__ if cls is not PluginSuite]
    found: dict[str, None] = {}
    for cls in (PluginSuite, *special):
        found |= dict.fromkeys(name for name in vars(cls) if name.startswith("test_"))
    return list(found)


def run(suite: PluginSuite, *, on_check: Callable[[str], object] | None = None) -> Iterator[Group]:
    """Each check, when it has ended on all its cases; `on_check` hears of it before."""
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
            yield Group(words, [Result("", "skipped", 0.0, "there is no case to try it on")])


def refusal(suite: PluginSuite) -> ParameterError | None:
    """What a plugin says that can't be made with its defaults: it wants a path, a login ...

    None where parameters were given, and for networks, whose checks show it.
    """
    if suite.parameters or suite.passed:
        return None
    try:
        with without_pytest(), contextlib.redirect_stdout(sys.stderr):
            make(suite.plugin, given={}, owner=suite.plugin.name)
    except ParameterError as error:
        return error
    except (Exception, SystemExit):
        return None  # its checks show it
    return None


def costs_of(suite: PluginSuite) -> list[Cost]:
    """What a call of the plugin costs; nothing where it can't be called, which checks show."""
    with without_pytest(), contextlib.redirect_stdout(sys.stderr):
        try:
            return list(suite.costs())
        except (Exception, CheckEnd):
            return []


def _cases(suite: PluginSuite) -> tuple[Sequence[Any], Group | None]:
    """The cases; or none, and how asking for them ended."""
    found: list[Any] = []
    result = _result(suite, "", lambda: found.extend(suite.cases()))
    return found, None if result.outcome == "passed" else Group("cases", [result])


def _result(suite: PluginSuite, case: str, check: Callable[..., object], *given: Any) -> Result:
    started = time.perf_counter()

    def ended(outcome: Outcome, **more: Any) -> Result:
        return Result(case, outcome, time.perf_counter() - started, **more)

    try:
        # A plugin that prints must not come between the lines of a report.
        with without_pytest(), contextlib.redirect_stdout(sys.stderr):
            check(*given)
    except CheckSkipped as end:
        return ended("skipped", reason=str(end))
    except CheckFailed as end:
        raised = _raised(suite, end.__cause__ or end.__context__)
        return ended("failed", fault=end.fault, judged=end.__cause__ is None, **raised)
    except (Exception, SystemExit) as error:
        where = f"{suite.where}, {case}" if case else suite.where
        fault = Fault(where, f"it raises {said(error)}", "no exception")
        return ended("failed", fault=fault, judged=False, **_raised(suite, error))
    return ended("passed")


def _raised(suite: PluginSuite, error: BaseException | None) -> dict[str, Any]:
    """What a plugin raised, and where; empty where it raised nothing."""
    if error is None:
        return {}
    return {"frames": _frames(error, suite.plugin), "error": said(error)}


def _frames(error: BaseException, plugin: type) -> tuple[str, ...]:
    """Where in the plugin's own files an error, or what it came from, was raised."""
    own = _files(plugin)
    found: list[str] = []
    cause: BaseException | None = error
    while cause is not None and not found:
        found = [
            f"{Path(frame.filename).name}, line {frame.lineno}, in {frame.name}: {frame.line}"
            for frame in traceback.extract_tb(cause.__traceback__)
            if frame.filename in own
        ]
        cause = cause.__cause__
    return tuple(found[-_FRAMES:])


def _files(plugin: type) -> set[str]:
    """Files of the plugin's class and those that it is made from, but for the contracts."""
    contracts = __name__.partition(".")[0] + ".core."
    classes = (cls for cls in plugin.__mro__ if issubclass(cls, Plugin))
    modules = {cls.__module__ for cls in classes if not cls.__module__.startswith(contracts)}
    files = (getattr(sys.modules.get(module), "__file__", None) for module in modules)
    return {file for file in files if file}
