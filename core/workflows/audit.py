"""The leakage audit: one model under several splits, so that a figure is read for what it is.

::

    OUT/
      request.json              what was asked
      random/ speaker/ ...      one run directory per split: fusion predict works on each
      audit.json, audit.csv     the table, what leaked, by how much the random split flatters

Every split has the same networks, settings, seed and features. Called again with the same
request an audit goes on where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..contracts.errors import ParameterError, RunError, SplitError
from ..data.split_modes import MODES, ModeName, count_groups, mode_of
from ..registry.registry import Registry
from ..runs.config import RunConfig
from ..runs.plan import Plan, divide, plan_without_split
from ..runs.run import OutputFolder, Run
from .audit_results import Audit, column_of, conclude_audit, table_rows
from .experiment import Observer, RunResult, resume_experiment, run_plan

AUDITED: tuple[ModeName, ...] = ("random", "speaker", "sentence", "corpus")
REQUEST = "request.json"


@dataclass(frozen=True)
class PlannedAudit:
    """The splits that the clips allow, and why they do not allow the others.

    Attributes
    ----------
    plans : dict
        Split -> its plan, in the order of `AUDITED`.
    refused : dict
        Split -> the reason.
    """

    plans: dict[str, Plan]
    refused: dict[str, str]

    @property
    def first(self) -> Plan:
        return next(iter(self.plans.values()))


class AuditObserver(Observer):
    """Follows an audit."""

    def audited(self, planned: PlannedAudit) -> None:
        """The request was checked."""

    def split_begins(self, split: str, plan: Plan, *, finished: bool) -> None:
        """The next split's turn; `finished` if it was done before."""


def run_audit(
    config: RunConfig,
    out: Path,
    registry: Registry,
    *,
    splits: Sequence[str] = (),
    jobs: int | None = None,
    observer: AuditObserver | None = None,
) -> Audit:
    """Train and test one model under each split, one after the other.

    Parameters
    ----------
    config : RunConfig
        What to train; its own split means nothing. Of its folds each split gets as many as it
        has groups for.
    out : Path
        A new folder, or one in which the same audit was started.
    splits : sequence of str
        Modes; none means all that the clips allow.
    jobs : int, optional
        Processes at a time, as in :func:`fusion.core.workflows.experiment.run_experiment`.

    Raises
    ------
    UserError
        For anything wrong with the request, before the long work starts: a split that was
        named and that the clips do not allow, or an `out` of another request.
    TrainingError
        When a training fails; the audit can be called again.
    """
    observer = observer or AuditObserver()
    planned = plan_audit(config, registry, splits)
    folder = _folder(out, planned)
    observer.audited(planned)
    with folder:
        columns = [
            column_of(split, _run(split, plan, folder, registry, jobs, observer), plan.dataset)
            for split, plan in planned.plans.items()
        ]
        audit = conclude_audit(columns, planned.refused)
        folder.write_json("audit.json", {"format": 1, **audit.to_json()})
        folder.write_csv("audit.csv", table_rows(audit))
    return audit


# -- what is possible ----------------------------------------------------------------


def plan_audit(config: RunConfig, registry: Registry, splits: Sequence[str] = ()) -> PlannedAudit:
    """Divide the clips in every way that was asked for, or that they allow.

    Raises
    ------
    SplitError
        If a split that was named is not possible, or none is, or more folds were asked for
        than there are speakers.
    """
    for name in splits:
        mode_of(name)
        if list(splits).count(name) > 1:
            raise ParameterError(f"The split {name!r} is named twice.")
    base = plan_without_split(config, registry)
    found: dict[str, Plan] = {}
    refused: dict[str, str] = {}
    folds = base.config.folds
    # By speaker first: where the corpus prescribes folds, that split has as many as there are.
    for split in sorted(splits or AUDITED, key=lambda name: name != "speaker"):
        number = folds if split == "speaker" else _folds(split, base, folds)
        changed = replace(base.config, split=mode_of(split).name, folds=number)
        try:
            found[split] = divide(replace(base, config=changed))
        except SplitError as error:
            if splits or _too_many_folds(split, base):
                raise
            refused[split] = error.message
        else:
            if split == "speaker" and len(found[split].splits) > 1:
                folds = len(found[split].splits)
    if not found:
        reasons = " ".join(f"{split}: {reason}" for split, reason in refused.items())
        raise SplitError(f"These clips allow no split at all. {reasons}")
    return PlannedAudit(
        {split: found[split] for split in AUDITED if split in found},
        {split: refused[split] for split in AUDITED if split in refused},
    )


def _folds(split: str, plan: Plan, wanted: int | None) -> int | None:
    """As many as wanted, but no more than one per group."""
    if wanted is None:
        return None
    mode = MODES[split]
    return max(min(wanted, count_groups(plan.dataset.clips, mode)), mode.min_folds)


def _too_many_folds(split: str, plan: Plan) -> bool:
    """Whether the speakers would do for a split, and only the folds that were asked for are wrong.

    An audit without the split by speaker is not what was meant then.
    """
    speakers = count_groups(plan.dataset.clips, MODES["speaker"])
    return (
        split == "speaker"
        and plan.config.folds is not None
        and speakers >= MODES["speaker"].min_folds
    )


# -- the runs ------------------------------------------------------------------------


def _folder(out: Path, planned: PlannedAudit) -> OutputFolder:
    """The folder of the audit, new or begun by the same request."""
    request = _request(planned)
    if not (out / REQUEST).is_file():
        folder = OutputFolder.create(out)
        folder.write_json(REQUEST, request)
        return folder
    folder = OutputFolder(out)
    known = folder.read_json(REQUEST)
    known["config"] = {"adapt": "none", **known["config"]}  # an audit of an older version
    for name, then, now in _differences(known, request):
        raise RunError(
            f"{out} holds the audit of another request: {name} was {then}, and is {now} now.",
            hint="Repeat its options to go on with it, or name another folder with --out.",
        )
    return folder


def _request(planned: PlannedAudit) -> dict[str, Any]:
    """What the runs will be, in plain values: the same request gives the same."""
    return {
        "format": 1,
        "splits": list(planned.plans),
        "config": replace(planned.first.config, split="speaker", folds=None).to_json(),
        "folds": {split: len(plan.splits) for split, plan in planned.plans.items()},
        "clips in parts": {
            split: [s.digest(plan.dataset.clips) for s in plan.splits]
            for split, plan in planned.plans.items()
        },
    }


def _differences(then: Any, now: Any, name: str = "") -> Iterator[tuple[str, str, str]]:
    """Where two plain values differ: name, one text, other text."""
    if isinstance(then, dict) and isinstance(now, dict):
        for key in dict.fromkeys([*then, *now]):
            inner = key if name in ("", "config", "settings") else f"{name}.{key}"
            yield from _differences(then.get(key), now.get(key), inner)
    elif then != now:
        yield name, json.dumps(then), json.dumps(now)


def _run(
    split: str,
    plan: Plan,
    folder: OutputFolder,
    registry: Registry,
    jobs: int | None,
    observer: AuditObserver,
) -> RunResult:
    """The run of one split: done before, taken up, or new."""
    path = folder.path / split
    begun = Run.open(path, registry) if Run.exists(path) else None
    finished = begun is not None and begun.is_complete()
    observer.split_begins(split, plan, finished=finished)
    if begun is not None:
        if finished:
            return RunResult.read(begun)
        return resume_experiment(begun, jobs=jobs, observer=observer)
    return run_plan(plan, path, registry, jobs=jobs, observer=observer)
