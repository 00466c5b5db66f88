"""Test whether the diagnosis recognises each injected fault, and healthy runs as healthy.

python benchmarks/faults.py [--data PATH] [--faults a,b] [--strengths 3] [--trials 4] [--out DIR]

Every trial is a run directory in --out. Each seed has a different split by speaker and different
initial weights, and uses the next modality and strategy in turn. After an interruption the same
command continues. --judge-only diagnoses the existing runs again and trains nothing. --repair also
repairs each faulty run, with its best single modality as the target. The tables are printed and
written to OUT/faults.md, all trials to OUT/faults.json.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from fault_trials import FAULTS, HEALTHY, Maker, Trial

from fusion.cache.builds.workers import WorkerPool, available_cores, process_pool
from fusion.core.analysis.diagnosis import diagnose
from fusion.core.registry.parameters import parse_settings
from fusion.core.registry.registry import Registry
from fusion.core.runs.outcome.selection import Selection
from fusion.core.runs.plan import make_plan
from fusion.core.runs.run import Run
from fusion.core.workflows.experiment import prepare_run, resume_experiment
from fusion.core.workflows.repair import RepairRequest, Target, repair
from fusion.core.workflows.shared_baselines import share_training

# Smaller images make a training 4x faster and cost a few points of UAR. train.start=scratch,
# because starting from healthy baselines would hide the effect of a strategy's fault on a branch.
SETTINGS = ("mel.n_mels=64", "mel.frames=128", "train.start=scratch")
NOTHING = "nothing"
FAILING = "failing by itself"
MARGIN = 2.0  # points of UAR on validation


@dataclass(frozen=True)
class Repaired:
    """Scores of a repaired model and of the run's best single modality: UAR in percent."""

    step: str
    val: float
    val_single: float
    test: float
    test_single: float


@dataclass
class Outcome:
    """Result of one trial.

    `findings` are the diagnosis's findings in their order, ``(fault, severity, modality)``. UARs
    are those on validation, in percent.
    """

    key: str
    fault: str
    strength: str
    expected: str
    modality: str | None
    strategy: str
    seed: int
    best_single: float
    fused: float
    findings: list[tuple[str, str, str | None]] = field(default_factory=list)
    repaired: Repaired | None = None

    @property
    def serious(self) -> list[tuple[str, str, str | None]]:
        return [finding for finding in self.findings if finding[1] != "mild"]

    @property
    def first(self) -> str:
        return self.serious[0][0] if self.serious else NOTHING

    @property
    def right(self) -> bool:
        return self.first == self.expected

    @property
    def group(self) -> str:
        """Group of the tables; a run without a fault that fails by itself is not healthy."""
        fails = self.expected == NOTHING and self.fused < self.best_single - MARGIN
        return FAILING if fails else self.fault

    @property
    def among(self) -> bool:
        names = {name for name, _, _ in self.findings}
        return self.expected in names if self.expected != NOTHING else self.right

    @property
    def located(self) -> bool:
        """True if the expected finding names the modality that has the fault."""
        named = [m for name, _, m in self.findings if name == self.expected]
        return bool(named) and (self.modality is None or self.modality in named)


def main() -> None:
    options = arguments()
    registry = Registry()
    maker = Maker(
        registry,
        data=options.data,
        cache=str(options.out / "cache") if options.cache is None else options.cache,
        settings=parse_settings([*SETTINGS, f"train.epochs={options.epochs}", *options.set]),
        strategies=options.strategies.split(","),
        folder=options.out.absolute(),
    )
    outcomes: list[Outcome] = []
    with process_pool(options.jobs or available_cores()) as pool:
        for seed in range(options.trials):
            outcomes += judged(list(trials(options, maker, seed)), maker, options, pool)
    text = "\n".join([*confusion(outcomes), "", *effects(outcomes), "", *repairs(outcomes)])
    print(f"\n{text}")
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "faults.md").write_text(text + "\n", encoding="utf-8")
    every = [{**asdict(o), "first": o.first, "right": o.right} for o in outcomes]
    (options.out / "faults.json").write_text(json.dumps(every, indent=1) + "\n", encoding="utf-8")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="corpus, as for fusion run; default: the demo corpus")
    parser.add_argument("--faults", help=f"some of {','.join(FAULTS)},{HEALTHY}; default: all")
    parser.add_argument(
        "--strengths",
        type=int,
        default=3,
        help="number of strengths of each fault, strongest first",
    )
    parser.add_argument(
        "--trials", type=int, default=4, help="number of seeds, each with a different split"
    )
    parser.add_argument(
        "--strategies", default="concat,gated", help="strategies that the trials use in turn"
    )
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--set", action="append", default=[], metavar="OWNER.PARAMETER=VALUE")
    parser.add_argument("--cache", help="default: OUT/cache")
    parser.add_argument("--jobs", type=int, help="trials in parallel; default: one per core")
    parser.add_argument(
        "--judge-only", action="store_true", help="diagnose existing runs again, without training"
    )
    parser.add_argument("--out", type=Path, default=Path("fault_trials"))
    parser.add_argument("--repair", action="store_true", help="also repair the faulty runs")
    options = parser.parse_args()
    if options.repair and options.judge_only:
        parser.error("--repair can't be combined with --judge-only, which trains nothing")
    names = [*FAULTS, HEALTHY] if options.faults is None else options.faults.split(",")
    for name in names:
        if name not in (*FAULTS, HEALTHY):
            parser.error(
                f"--faults: no fault is called {name!r}; available: {', '.join(FAULTS)}, {HEALTHY}"
            )
    options.faults = names
    return options


def trials(options: argparse.Namespace, maker: Maker, seed: int) -> Iterator[Trial]:
    """Yield the trials of a seed, healthy ones first, because the others share their baselines."""
    if HEALTHY in options.faults:
        yield from maker.healthy(seed)
    else:
        yield maker.base(seed)
    for name in options.faults:
        if name != HEALTHY:
            for strength in FAULTS[name].strengths[: options.strengths]:
                yield maker.faulty(name, strength, seed)


# -- a trial ---------------------------------------------------------------------------


def judged(
    every: list[Trial], maker: Maker, options: argparse.Namespace, pool: WorkerPool
) -> list[Outcome]:
    """Run and diagnose the trials of one seed in parallel, each in one process."""
    runs = options.out.absolute() / "runs"
    outcomes: list[Outcome] = []
    futures: dict[str, Future[Repaired | None]] = {}
    for trial in every:
        if options.judge_only:
            continue
        prepare(trial, maker, runs / trial.key)
        needs_repair = options.repair and trial.expected != NOTHING
        repairs = options.out.absolute() / "repairs" / trial.key if needs_repair else None
        futures[trial.key] = pool.submit(carry_out, runs / trial.key, repairs)
        if trial is every[0]:
            futures[trial.key].result()  # wait, because the other trials share its baselines
    for trial in every:
        repaired = futures[trial.key].result() if trial.key in futures else None
        if (runs / trial.key / "results.json").is_file():
            outcomes.append(outcome_of(trial, runs / trial.key, again=options.judge_only))
            outcomes[-1].repaired = repaired
            print(line_of(outcomes[-1]), flush=True)
    return outcomes


def prepare(trial: Trial, maker: Maker, path: Path) -> None:
    """Create the trial's run directory, including the baselines that the trial shares."""
    base = path.parent / maker.base(trial.seed).key
    if (path / "run.json").is_file():
        return
    shutil.rmtree(path, ignore_errors=True)
    config = trial.config(steps_of(base) if base != path else 0)
    registry = Registry(config.plugins)
    with Run.create(path, registry) as run:
        prepare_run(run, make_plan(config, registry), jobs=1)
    # Share the baselines that the fault does not affect; the base trial itself shares nothing.
    for modality in trial.shared if base != path else ():
        share_training(Run(base), run, f"fold0/{modality}")


def carry_out(path: Path, repairs: Path | None) -> Repaired | None:
    """Train the remaining trainings of a trial in this process; repair the run if requested."""
    resume_experiment(Run.open(path), jobs=0, report=False)
    return None if repairs is None else repaired(path, repairs)


def steps_of(base: Path) -> int:
    """Return the number of steps of the fused training of the base trial."""
    return int(json.loads((base / "fold0/fused/training.json").read_text())["step"])


def outcome_of(trial: Trial, path: Path, *, again: bool) -> Outcome:
    """Return the scores and findings of a finished run."""
    selection = Selection.read(Run.open(path))
    return Outcome(
        trial.key,
        trial.fault,
        trial.strength,
        trial.expected,
        trial.modality,
        trial.label,
        trial.seed,
        round(100 * selection.mean_val_uar(selection.best_single), 1),
        round(100 * selection.mean_val_uar("fused"), 1),
        findings_of(path, again=again),
    )


def findings_of(path: Path, *, again: bool) -> list[tuple[str, str, str | None]]:
    file = path / "diagnosis.json"
    if again or not file.is_file():
        diagnose(Run.open(path))
    findings: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["findings"]
    return [(f["fault"], f["severity"], f["modality"]) for f in findings]


def repaired(path: Path, folder: Path) -> Repaired:
    """Repair a run, or read a finished repair; return the scores."""
    run = Run.open(path)
    result = repair(run, folder, run.registry, RepairRequest(Target("minimum")), jobs=0)
    test = {row["name"]: row["uar"]["value"] for row in result.result.results.to_json()["models"]}
    values = result.chosen.best, result.steps[0].single, test["chosen"], test[result.best_single]
    return Repaired(result.chosen.name, *(round(100 * value, 1) for value in values))


# -- tables ----------------------------------------------------------------------------


def line_of(outcome: Outcome) -> str:
    findings = ", ".join(
        f"{severity} {name}" + (f" ({m})" if m else "") for name, severity, m in outcome.findings
    )
    mark = "ok  " if outcome.right else "MISS" if outcome.expected != NOTHING else "FALSE ALARM"
    gain = f"fused {outcome.fused:.1f} (best single {outcome.best_single:.1f})"
    return f"{mark} {outcome.key}: {findings or NOTHING}; {gain}"


def grouped(outcomes: Iterable[Outcome]) -> dict[tuple[str, str], list[Outcome]]:
    """Group the trials by fault and strength, in the order of the faults."""
    groups: dict[tuple[str, str], list[Outcome]] = {}
    order = [HEALTHY, FAILING, *FAULTS]
    for outcome in sorted(outcomes, key=lambda o: order.index(o.group)):
        groups.setdefault((outcome.group, outcome.strength), []).append(outcome)
    return groups


def confusion(outcomes: list[Outcome]) -> list[str]:
    """Return a table with injected faults as rows and first findings as columns, in percent.

    The last columns are the number of trials and the shares of trials whose first finding is
    right, whose findings contain the fault, and whose finding names the modality.
    """
    expected = [NOTHING, *dict.fromkeys(fault.expected for fault in FAULTS.values())]
    columns = [*expected, *sorted({o.first for o in outcomes} - set(expected))]
    lines = [
        f"| injected fault | {' | '.join(columns)} | trials | right | among | modality |",
        "|" + "---|" * (len(columns) + 5),
    ]
    for (fault, strength), group in grouped(outcomes).items():
        first = Counter(o.first for o in group)
        cells = [f"{100 * first[c] / len(group):.0f}" if first[c] else "" for c in columns]
        lines.append(
            f"| {fault} {strength} | {' | '.join(cells)} | {len(group)} | "
            f"{percent(o.right for o in group)} | {percent(o.among for o in group)} | "
            f"{percent(o.located for o in group) if fault in FAULTS else ''} |"
        )
    for name, group in (
        ("all faults", [o for o in outcomes if o.expected != NOTHING]),
        ("all healthy", [o for o in outcomes if o.group == HEALTHY]),
    ):
        if group:
            lines += ["", f"{name}: {percent(o.right for o in group)} % of {len(group)} right"]
    failing = [o for o in outcomes if o.group == FAILING]
    if failing:
        diagnosed = percent(o.first != NOTHING for o in failing)
        lines += [
            "",
            f"{len(failing)} runs without an injected fault end {MARGIN:g} points or more below "
            f"their best single modality on validation; {diagnosed} % of them have a finding.",
        ]
    return lines


def effects(outcomes: list[Outcome]) -> list[str]:
    """Return a table of each fault's validation UAR and that of healthy runs of the same seeds."""
    healthy = {(o.seed, o.strategy): o.fused for o in outcomes if o.expected == NOTHING}
    lines = [
        "| UAR % on validation | best single | fused | fused when healthy |",
        "|---|---|---|---|",
    ]
    for (fault, strength), group in grouped(outcomes).items():
        fused = [healthy[o.seed, o.strategy] for o in group if (o.seed, o.strategy) in healthy]
        lines.append(
            f"| {fault} {strength} | {fmean(o.best_single for o in group):.1f} | "
            f"{fmean(o.fused for o in group):.1f} | {f'{fmean(fused):.1f}' if fused else ''} |"
        )
    return lines


def repairs(outcomes: list[Outcome]) -> list[str]:
    """Return a table of each fault's scores after the repair; empty if no run was repaired."""
    lines = [
        "| injected fault | repaired, validation | best single | test | best single | step |",
        "|---|---|---|---|---|---|",
    ]
    every: list[Repaired] = []
    for (fault, strength), group in grouped(outcomes).items():
        scores = [o.repaired for o in group if o.repaired is not None]
        every += scores
        if scores:
            steps = Counter(r.step for r in scores)
            lines.append(
                f"| {fault} {strength} | {fmean(r.val for r in scores):.1f} | "
                f"{fmean(r.val_single for r in scores):.1f} | "
                f"{fmean(r.test for r in scores):.1f} | "
                f"{fmean(r.test_single for r in scores):.1f} | "
                f"{', '.join(f'{step} {n}' for step, n in steps.most_common())} |"
            )
    if not every:
        return []
    gain = fmean(r.test - r.test_single for r in every)
    return [
        *lines,
        "",
        f"at least the best single on validation: {percent(r.val >= r.val_single for r in every)} "
        f"% of {len(every)}; on test {gain:+.1f} points on average",
    ]


def percent(hits: Iterable[bool]) -> str:
    return f"{100 * fmean(map(float, hits)):.0f}"


if __name__ == "__main__":
    main()
