"""Leakage audit: train one model under several splits, to measure how leakage inflates scores.

::

    OUT/
      request.json              the request
      random/ speaker/ ...      one run directory per split, usable in fusion predict
      audit.json, audit.csv     results, leakage, and how much the random split overstates

Every split has the same networks, settings, seed and features. The same call resumes an
interrupted audit.
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
from ..runs.record import with_earlier_settings
from ..runs.run import OutputFolder, Run
from .audit_results import Audit, column_of, conclude_audit, table_rows
from .experiment import Observer, RunResult, resume_experiment, run_plan

AUDITED: tuple[ModeName, ...] = ("random", "speaker", "sentence", "corpus")
# In the order of the columns. A published split is audited only if it is named, because the split
# by speaker follows it, too, if it can.
_KNOWN: tuple[ModeName, ...] = (*AUDITED, "published")
_FOLLOWING = ("speaker", "published")  # splits that follow prescribed folds
REQUEST = "request.json"


@dataclass(frozen=True)
class PlannedAudit:
    """Splits that the clips allow, and reasons why other splits are impossible.

    Attributes
    ----------
    plans : dict
        Plan of each split, in the order of `AUDITED`; a published split is last.
    refused : dict
        Reason why a split is impossible, by the name of the split.
    """

    plans: dict[str, Plan]
    refused: dict[str, str]

    @property
    def first(self) -> Plan:
        """Plan of the first split."""
        return next(iter(self.plans.values()))


class AuditObserver(Observer):
    """Observer of an audit and of its runs. The default methods do nothing."""

    def audited(self, planned: PlannedAudit) -> None:
        """Handle the end of the checks of the request."""

    def split_begins(self, split: str, plan: Plan, *, finished: bool) -> None:
        """Handle the start of a split; `finished` is true if an earlier call finished its run."""


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
        Configuration of the model. The split in `config` is ignored. A split with fewer groups
        than folds gets one fold per group.
    out : Path
        New folder. If `out` holds the same audit, the audit is resumed.
    splits : sequence of str
        Names of splits; empty means all that the clips allow.
    jobs : int, optional
        Number of parallel processes, as in
        :func:`fusion.core.workflows.experiment.run_experiment`.

    Raises
    ------
    UserError
        If the request is invalid, for example if the clips do not allow a named split, or if `out`
        holds another audit. The error is raised before features are extracted.
    TrainingError
        If a training fails; the audit can be resumed.
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
    """Divide the clips by each of `splits`, or by default by every split that the clips allow.

    Raises
    ------
    ParameterError
        If a split is named twice.
    SplitError
        If a named split is impossible, if no split is possible, or if the folds outnumber the
        speakers.
    """
    for name in splits:
        mode_of(name)
        if list(splits).count(name) > 1:
            raise ParameterError(f"The split {name!r} is named twice.")
    base = plan_without_split(config, registry)
    plans: dict[str, Plan] = {}
    refused: dict[str, str] = {}
    folds = base.config.folds
    # The splits that follow the corpus come first. If the corpus prescribes folds, these splits use
    # all of them, and later splits get the same number of folds.
    for split in sorted(splits or AUDITED, key=lambda name: name not in _FOLLOWING):
        number = folds if split in _FOLLOWING else _folds(split, base, folds)
        changed = replace(base.config, split=mode_of(split).name, folds=number)
        try:
            plans[split] = divide(replace(base, config=changed))
        except SplitError as error:
            if splits or _too_many_folds(split, base):
                raise
            refused[split] = error.message
        else:
            if split in _FOLLOWING and len(plans[split].splits) > 1:
                folds = len(plans[split].splits)
    if not plans:
        reasons = " ".join(f"{split}: {reason}" for split, reason in refused.items())
        raise SplitError(f"No split of the clips is possible. {reasons}")
    return PlannedAudit(
        {split: plans[split] for split in _KNOWN if split in plans},
        {split: refused[split] for split in _KNOWN if split in refused},
    )


def _folds(split: str, plan: Plan, wanted: int | None) -> int | None:
    """Return the requested number of folds, limited to one fold per group of the split."""
    if wanted is None:
        return None
    mode = MODES[split]
    return max(min(wanted, count_groups(plan.dataset.clips, mode)), mode.min_folds)


def _too_many_folds(split: str, plan: Plan) -> bool:
    """Return whether the split by speaker fails only because of the requested number of folds.

    If so, the audit stops, because leaving out the split by speaker would hide the user's mistake.
    """
    speakers = count_groups(plan.dataset.clips, MODES["speaker"])
    return (
        split == "speaker"
        and plan.config.folds is not None
        and speakers >= MODES["speaker"].min_folds
    )


# -- the runs ------------------------------------------------------------------------


def _folder(out: Path, planned: PlannedAudit) -> OutputFolder:
    """Create the folder of the audit, or open it if it holds the same request."""
    request = _request(planned)
    if not (out / REQUEST).is_file():
        folder = OutputFolder.create(out)
        folder.write_json(REQUEST, request)
        return folder
    folder = OutputFolder(out)
    stored = folder.read_json(REQUEST)
    # Older versions had no `adapt` and used only the middle of long clips.
    stored["config"] = with_earlier_settings({"adapt": "none", **stored["config"]})
    for name, then, now in _differences(stored, request):
        raise RunError(
            f"{out} holds the audit of another request: {name} was {then}, and is {now} now.",
            hint="Repeat the old options to resume that audit (of version 0.2 and before: --set "
            "train.windows=middle), or name another folder: --out DIR",
        )
    return folder


def _request(planned: PlannedAudit) -> dict[str, Any]:
    """Return the request of an audit as plain values; equal requests give equal values."""
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
    """Yield the name and both values, as JSON, of each difference between two plain values."""
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
    """Read, resume or start the run of one split, and return its result."""
    path = folder.path / split
    existing = Run.open(path, registry) if Run.exists(path) else None
    finished = existing is not None and existing.is_complete()
    observer.split_begins(split, plan, finished=finished)
    if existing is not None:
        if finished:
            return RunResult.read(existing)
        return resume_experiment(existing, jobs=jobs, observer=observer)
    return run_plan(plan, path, registry, jobs=jobs, observer=observer)
