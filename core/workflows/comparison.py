"""Results of a finished comparison: score, interval, significance tests and cost of each cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from ..contracts.errors import RunError
from ..data.task import task_sentence
from ..runs.outcome.attribution import FILE as CONTRIBUTIONS
from ..runs.outcome.results import finite
from ..runs.outcome.selection import ENSEMBLE, Selection
from ..runs.outcome.test_predictions import SavedPredictions
from ..runs.run import Run
from ..runs.trainings import CONTROL, FUSED, trainings_of
from ..toolkit.intervals import Comparison, Interval, holm, jackknife_interval, paired_comparison
from ..toolkit.metrics import Floats, uar
from .grid import Cell, Request

Confusions = npt.NDArray[np.int64]  # (S, K, C, C): speakers, seeds, true class, predicted class
ORACLE = "oracle"


@dataclass(frozen=True)
class Tested:
    """Paired comparison with a p-value, Holm-corrected over the comparisons with the same rival."""

    comparison: Comparison
    p_holm: float


@dataclass(frozen=True)
class Row:
    """Results of one method over all folds and seeds.

    Attributes
    ----------
    cell : Cell
        The method.
    uar : Interval
        Test UAR, averaged over seeds; the interval resamples speakers.
    val_uar : float
        Validation UAR, averaged over folds and seeds.
    rank : float
        Rank among the cells by test UAR, mean over folds and seeds. Rank 1 is the best.
    against : dict
        Difference between the method and each rival. Rivals are ``"single"`` (the best single
        modality on validation), ``"ensemble"``, and ``"plain"`` (the same strategy without
        balancer). A plain cell has no rival ``"plain"``.
    gate : bool
        Whether the chosen model of the cell is at least as good on validation as the best single
        modality, in every fold and seed.
    fused_chosen : float
        Share of folds and seeds in which validation chose the fused model.
    contributions : dict
        Shapley value of each modality for the fused model's test UAR, averaged over seeds.
    reads : tuple of str
        ``"baselines"`` if the method starts from baselines or learns from baselines;
        ``"validation"`` if the method uses validation clips for more than the choice of an epoch.
    seconds : float
        Mean time in seconds to train one fused model, with all its trials. If the method reads
        baselines, the time includes the baselines of the fold.
    updates : int or None
        Mean number of optimiser steps in the training of one fused model. A method may take
        several steps per batch.
    peak_bytes : int or None
        Highest peak memory of a training.
    parameters : int
        Number of trainable values of the fused model.
    """

    cell: Cell
    uar: Interval
    val_uar: float
    rank: float
    against: dict[str, Tested]
    gate: bool
    fused_chosen: float
    contributions: dict[str, float]
    reads: tuple[str, ...]
    seconds: float
    updates: int | None
    peak_bytes: int | None
    parameters: int


@dataclass(frozen=True)
class Comparisons:
    """Results of a comparison.

    Attributes
    ----------
    rows : tuple of Row
        Results of the cells, in the order of the request.
    others : dict
        Test UAR of each reference. References are each modality, the ensemble, ``"control"`` and
        the oracle. The control is the best single modality, trained for as many steps as a fused
        model and its baseline together. The control is missing if no cell used baselines. The
        oracle is right about a clip if the baseline of any modality of the clip is right. No rule
        that picks one modality per clip can score more than the oracle.
    others_val : dict
        Validation UAR of the modalities, the control and the ensemble.
    best_single : str
        Modality with the highest validation UAR.
    best : Row
        Cell with the highest validation UAR.
    handed_out : Interval
        Test UAR of the candidate with the best validation UAR of all cells, by fold and seed.
    handed_out_against : Comparison
        Difference between `handed_out` and the best single modality.
    missing : dict
        Reason why a cell could not be trained, by the name of the cell.
    speakers, folds, seeds, epochs : int
        Numbers of test speakers, of folds, of seeds, and of epochs of a baseline.
    trials : int
        Trials of every training; 1 without tuning.
    speaker_independent, synthetic : bool
        Whether training, validation and test share no speaker; whether the clips were generated.
    absent : dict
        Number of clips that lack each modality. Modalities that every clip has are left out.
    adapt : str
        ``"speaker"`` if features were standardised by each speaker's unlabelled clips.
    control : tuple of str
        Modality of the control for each seed, without repetitions; empty without a control.
    """

    rows: tuple[Row, ...]
    others: dict[str, Interval]
    others_val: dict[str, float]
    best_single: str
    best: Row
    handed_out: Interval
    handed_out_against: Comparison
    missing: dict[str, str]
    speakers: int
    folds: int
    seeds: int
    epochs: int
    trials: int
    speaker_independent: bool
    synthetic: bool
    absent: dict[str, int]
    adapt: str = "none"
    control: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the results as plain values; an undefined figure is None."""
        plain = asdict(self)
        for values, row in zip(plain["rows"], self.rows, strict=True):
            values["cell"]["name"] = row.cell.name
        plain["best"] = self.best.cell.name
        plain["task"] = task_sentence(self.adapt)
        result: dict[str, Any] = finite(plain)
        return result


def summarise(
    out: Path,
    request: Request,
    refused: Mapping[Cell, str],
    failed: Mapping[tuple[Cell, int], str],
    reads: Mapping[Cell, tuple[str, ...]],
) -> Comparisons:
    """Read the finished cells of a comparison, and compare them.

    Parameters
    ----------
    refused : mapping
        Reason why a cell was not trained, by cell.
    failed : mapping
        Reason why a training failed, by cell and seed.
    reads : mapping
        Inputs of each cell in addition to training clips (`workflows.grid.reads_of`).

    Raises
    ------
    RunError
        If no cell is finished.
    """
    missing = {cell.name: reason for cell, reason in refused.items()}
    missing |= {cell.name: reason for (cell, _), reason in failed.items()}
    cells = [cell for cell in request.cells if cell.name not in missing]
    if not cells:
        reason = next(iter(missing.values()))
        raise RunError(
            f"No cell of the comparison could be trained. Reason for the first cell: {reason}"
        )
    runs = {
        (cell, seed): Run.open(out / f"seed{seed}" / cell.folder)
        for cell in cells
        for seed in request.seeds
    }
    return _Summary(request.seeds, cells, runs, reads).comparisons(missing)


class _Summary:
    """Collector of the results of all runs of a grid."""

    def __init__(
        self,
        seeds: Sequence[int],
        cells: Sequence[Cell],
        runs: Mapping[tuple[Cell, int], Run],
        reads: Mapping[Cell, tuple[str, ...]],
    ) -> None:
        self.reads = reads
        self.seeds = seeds
        self.cells = cells
        self.runs = runs
        self.record = runs[cells[0], seeds[0]].record
        self.modalities = self.record.modalities
        self.selections = {key: Selection.read(run) for key, run in runs.items()}
        self.predictions = {key: SavedPredictions.read(run) for key, run in runs.items()}

    def comparisons(self, missing: dict[str, str]) -> Comparisons:
        """Compute the intervals, tests and ranks of all cells and references."""
        first = self.cells[0]
        means = {name: self._val(first, name) for name in (*self.modalities, ENSEMBLE)}
        best_single = max(self.modalities, key=means.__getitem__)
        controlled = self._controlled()
        if controlled is not None:
            means[CONTROL] = float(
                np.mean([self.selections[controlled, s].control_val_uar for s in self.seeds])
            )
        fused = {cell: self._confusions(cell, FUSED) for cell in self.cells}
        single = self._confusions(first, best_single)
        sources = dict.fromkeys(self.modalities, first)
        sources |= {CONTROL: controlled} if controlled is not None else {}
        sources[ENSEMBLE] = first
        references = {
            name: jackknife_interval(self._confusions(cell, name), mean_uar)
            for name, cell in sources.items()
        }
        references[ORACLE] = jackknife_interval(self._oracle(first), mean_uar)
        against = self._tests(fused, single, self._confusions(first, ENSEMBLE))
        ranks = self._ranks()
        rows = tuple(
            self._row(cell, fused[cell], ranks[cell], against[cell]) for cell in self.cells
        )
        chosen = self._chosen()
        return Comparisons(
            rows,
            references,
            means,
            best_single,
            max(rows, key=lambda row: row.val_uar),
            jackknife_interval(chosen, mean_uar),
            paired_comparison(chosen, single, mean_uar),
            missing,
            len(single),
            self.record.split.folds,
            len(self.seeds),
            self.record.config.train.epochs,
            max(1, self.record.config.tune),
            self.record.split.speaker_independent,
            self.record.synthetic,
            dict(self.record.absent),
            self.record.config.adapt,
            ()
            if controlled is None
            else tuple(dict.fromkeys(self.selections[controlled, s].control for s in self.seeds)),
        )

    def _controlled(self) -> Cell | None:
        """Return the first cell that has the shared equal-steps control; None if no cell has it."""
        first = self.seeds[0]
        return next((cell for cell in self.cells if self.runs[cell, first].record.control), None)

    def _val(self, cell: Cell, name: str) -> float:
        return float(np.mean([self.selections[cell, s].mean_val_uar(name) for s in self.seeds]))

    def _confusions(self, cell: Cell, name: str) -> Confusions:
        """Return the confusion matrices of one model by speaker and seed; shape (S, K, C, C)."""
        return np.stack([self.predictions[cell, s].confusions(name) for s in self.seeds], axis=1)

    def _oracle(self, cell: Cell) -> Confusions:
        return np.stack(
            [self.predictions[cell, s].oracle(self.modalities) for s in self.seeds], axis=1
        )

    def _tests(
        self, fused: Mapping[Cell, Confusions], single: Confusions, ensemble: Confusions
    ) -> dict[Cell, dict[str, Tested]]:
        """Test every cell against the best single modality, the ensemble and its plain strategy.

        The p-values are corrected separately for each of the three rivals.
        """
        plain = {cell.strategy: fused[cell] for cell in self.cells if cell.plain}
        families: dict[str, Callable[[Cell], Confusions | None]] = {
            "single": lambda _: single,
            "ensemble": lambda _: ensemble,
            "plain": lambda cell: None if cell.plain else plain.get(cell.strategy),
        }
        tests: dict[Cell, dict[str, Tested]] = {cell: {} for cell in self.cells}
        for family, rival in families.items():
            pairs = [(cell, other) for cell in self.cells if (other := rival(cell)) is not None]
            compared = [paired_comparison(fused[cell], other, mean_uar) for cell, other in pairs]
            adjusted = holm([c.p_value for c in compared])
            for (cell, _), comparison, p in zip(pairs, compared, adjusted, strict=True):
                tests[cell][family] = Tested(comparison, float(p))
        return tests

    def _ranks(self) -> dict[Cell, float]:
        """Return the mean rank of each cell over folds and seeds."""
        folds = [
            [self.predictions[cell, s].fold_uar(FUSED) for s in self.seeds] for cell in self.cells
        ]
        table = np.array(folds).reshape(len(self.cells), -1)  # (cells, seeds * folds)
        ranks = np.stack([rankdata(-column) for column in table.T]).mean(axis=0)
        return dict(zip(self.cells, (float(r) for r in ranks), strict=True))

    def _row(
        self, cell: Cell, confusions: Confusions, rank: float, against: dict[str, Tested]
    ) -> Row:
        folds = [fold for s in self.seeds for fold in self.selections[cell, s].folds]
        gate = all(
            fold.val_uar[fold.chosen] >= max(fold.val_uar[m] for m in self.modalities)
            for fold in folds
        )
        shares = [self.runs[cell, s].read_json(CONTRIBUTIONS) for s in self.seeds]
        trained = [
            self.runs[cell, s].read_json(f"{t.name}/training.json")
            for s in self.seeds
            for t in trainings_of(self.runs[cell, s])
            if t.model == FUSED
        ]
        peaks = [t["peak_bytes"] for t in trained if t.get("peak_bytes") is not None]
        updates = [t["updates"] for t in trained if t.get("updates") is not None]
        reads = self.reads[cell]
        return Row(
            cell,
            jackknife_interval(confusions, mean_uar),
            self._val(cell, FUSED),
            rank,
            against,
            gate,
            float(np.mean([fold.chosen == FUSED for fold in folds])),
            {m: float(np.mean([share[m] for share in shares])) for m in self.modalities},
            reads,
            self._seconds(cell, with_baselines="baselines" in reads),
            round(float(np.mean(updates))) if updates else None,
            max(peaks) if peaks else None,
            int(trained[0]["parameters"]),
        )

    def _seconds(self, cell: Cell, *, with_baselines: bool) -> float:
        """Return the mean training time of one fused model over folds and seeds."""
        spent = 0.0
        for seed in self.seeds:
            run = self.runs[cell, seed]
            for training in trainings_of(run):
                if with_baselines or training.model == FUSED:
                    spent += float(run.summary(training.name)["seconds"])
        return spent / (len(self.seeds) * self.record.split.folds)

    def _chosen(self) -> Confusions:
        """Return the confusion matrices of the candidate with the best validation UAR in each fold.

        Candidates are the modalities, the ensemble and the fused model of every cell.
        """
        matrices = []
        for seed in self.seeds:
            chosen: list[tuple[Cell, str]] = []
            for fold in range(len(self.selections[self.cells[0], seed].folds)):
                candidates: list[tuple[Cell, str]] = [
                    (self.cells[0], name) for name in (*self.modalities, ENSEMBLE)
                ]
                candidates += [(cell, FUSED) for cell in self.cells]
                chosen.append(max(candidates, key=lambda c: self._fold_val(c, seed, fold)))
            matrices.append(
                sum(self.predictions[cell, seed].confusions(name, fold=fold)
                    for fold, (cell, name) in enumerate(chosen))
            )  # fmt: skip
        return np.stack(matrices, axis=1)

    def _fold_val(self, candidate: tuple[Cell, str], seed: int, fold: int) -> float:
        cell, name = candidate
        return self.selections[cell, seed].folds[fold].val_uar[name]


def mean_uar(confusions: npt.NDArray[Any]) -> Floats:
    """Return the mean UAR over K seeds, shape (R,), of R matrices of shape (R, K, C, C)."""
    means: Floats = uar(confusions).mean(axis=-1)
    return means
