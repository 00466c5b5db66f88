"""Data of a finished run for the diagnosis rules, without the run's test clips."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ....cache import FeatureCache
from ...data.adaptation import adapted
from ...data.dataset import RunData
from ...data.extraction import fingerprint_of
from ...data.features import Arrays, Features, Indices
from ...data.presence import having
from ...data.splits import Split
from ...runs.config import RunConfig
from ...runs.execution.jobs import speaker_moments, stored_arrays
from ...runs.outcome.history import kept_epochs
from ...runs.outcome.predictions import fold_features, validate_all
from ...runs.plan import make_extractors
from ...runs.run import Run
from ...runs.trainings import FUSED, Training
from ...toolkit.metrics import confusion_matrix, uar
from ...toolkit.signal import Signal
from ...training.hardware.device import choose_precision
from ...training.inference import Predictions, encoded
from ...training.model import FusionModel, ModelSpec, build_model
from ...training.recorder import layers_of
from .pools import HeldOutPool, Targets, held_out_pool, linear_head, measured_shares
from .views import Floats, pooled

Record = Mapping[str, Any]
_LATE = 0.2  # the last fifth of the epochs counts as "late"
_MOST = 2000  # maximum number of training clips to which a fresh head is fitted


@dataclass(frozen=True)
class Curve:
    """Epoch records and final summary of one training."""

    records: Sequence[Record]
    summary: Record

    def late(self, key: str) -> float:
        """Return the mean of a figure over the last fifth of the epochs; NaN if never recorded."""
        values = self.values(key)
        count = max(1, round(_LATE * len(self.records)))
        return float(np.mean(values[-count:])) if values else float("nan")

    def values(self, key: str) -> list[float]:
        """Return the values of a figure in the epochs that recorded the figure."""
        return [float(r[key]) for r in self.records if isinstance(r.get(key), int | float)]

    @cached_property
    def layers(self) -> dict[str, dict[str, float]]:
        """Largest relative change per step over all recorded epochs, by modality and layer.

        The layers of the fusion head have the key ``""`` instead of a modality.
        """
        by_owner: dict[str, dict[str, float]] = {}
        for record in self.records:
            for owner, layers in record.get("layers", {}).items():
                for layer, (_, update) in layers.items():
                    largest = by_owner.setdefault(owner, {})
                    largest[layer] = max(largest.get(layer, 0.0), update or 0.0)
        return by_owner


@dataclass(frozen=True)
class Fold:
    """Trainings of one fold, and predictions of the models on the fold's validation clips."""

    number: int
    split: Split
    fused: Curve
    single: Mapping[str, Curve]
    predictions: Mapping[str, Predictions]  # predictions by model


@dataclass(frozen=True)
class Embedded:
    """Embeddings of the clips of one fold, computed by the branches of the fused model.

    Attributes
    ----------
    train, val : array
        (n, P) and (k, P): embeddings of all modalities, concatenated; 0 where a clip lacks the
        modality.
    targets : array
        (n,) class of each training clip.
    """

    train: Floats
    targets: Targets
    val: Floats


@dataclass(frozen=True)
class Blame:
    """Validation UARs, in points (0 to 100), that show which part of a fused model loses UAR.

    The isolating experiment starts from the pool of the single-modality models, and replaces one
    part at a time by the same part of the fused model.

    Attributes
    ----------
    fused : float
        UAR of the fused model.
    head : float
        UAR of a fresh linear head on the embeddings of the fused model, fitted to training clips;
        NaN if the features can't be read.
    probes : float
        UAR of the log-linear pool of the fused model's probes; NaN if there are no probes.
    singles : float
        UAR of the log-linear pool of the single-modality models.
    """

    fused: float
    head: float
    probes: float
    singles: float


@dataclass
class Evidence:
    """Configuration, data, trainings, predictions and features of one run, for the rules."""

    config: RunConfig
    spec: ModelSpec
    data: RunData
    folds: Sequence[Fold]
    arrays: Mapping[str, Arrays] = field(default_factory=dict)
    # Number of weights by modality and layer; the key "" holds the head. The dict is empty if the
    # numbers are unknown.
    layer_sizes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    missing: str = ""  # reason why `arrays` is empty
    # Function from a fold number to embeddings.
    embed: Callable[[int], Embedded | None] | None = None
    signals: Mapping[str, Signal] = field(default_factory=dict)  # by key, of measured recordings

    @property
    def modalities(self) -> list[str]:
        """Names of all modalities of the run."""
        return [branch.modality.name for branch in self.spec.branches]

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.spec.num_classes

    @property
    def sizes(self) -> dict[str, int]:
        """Number of weights of each branch, by modality; the key ``""`` holds the head."""
        return {owner: sum(layers.values()) for owner, layers in self.layer_sizes.items()}

    def mean(self, of: Sequence[float]) -> float:
        """Return the mean of one value per fold, ignoring NaN and infinite values."""
        finite = [x for x in of if np.isfinite(x)]
        return float(np.mean(finite)) if finite else float("nan")

    def late(self, key: str) -> float:
        """Return a figure late in the joint training, mean over folds."""
        return self.mean([fold.fused.late(key) for fold in self.folds])

    def first(self, key: str) -> float:
        """Return a figure of the first recorded epoch of the joint training, mean over folds."""
        return self.mean([(f.fused.values(key) or [float("nan")])[0] for f in self.folds])

    def late_single(self, modality: str, key: str) -> float:
        """Return a figure late in a modality's own training, mean over folds."""
        return self.mean([fold.single[modality].late(key) for fold in self.folds])

    def inputs(self, modality: str, which: str, figure: str) -> float:
        """Return a figure of the training inputs of a modality, mean over folds.

        Parameters
        ----------
        modality : str
            Name of the modality.
        which : {"raw", "seen"}
            The features as stored, or as the branches receive them.
        figure : str
            Key of :mod:`fusion.core.training.input_statistics`, such as ``"mean"``.
        """
        values = [
            fold.fused.summary.get("inputs", {}).get(modality, {}).get(which, {}).get(figure)
            for fold in self.folds
        ]
        return self.mean([float("nan") if x is None else float(x) for x in values])

    def val_uar(self, model: str, *, everywhere: bool = False) -> float:
        """Return the validation UAR (0 to 1) of a model at its kept epoch, mean over folds.

        The model of a single modality is scored on the clips that have the modality. With
        `everywhere`, the model is scored on all clips.
        """
        uars: list[float] = []
        for fold in self.folds:
            val = fold.split.val
            clips = val if everywhere else self.having(val, model)
            predicted = fold.predictions[model].probabilities.argmax(axis=1)
            uars.append(self.uar(predicted[np.isin(val, clips)], clips))
        return self.mean(uars)

    def uar(self, predicted: npt.NDArray[Any], clips: Indices) -> float:
        """Return the UAR (0 to 1) of predicted classes of some clips."""
        return float(uar(confusion_matrix(self.data.targets[clips], predicted, self.classes)))

    @property
    def lost(self) -> float:
        """UAR of the best single modality or probe minus that of the fused scores, in points.

        All UARs are measured on validation clips, late in training. If some clips lack a modality,
        the UAR of the modality's kept model on all clips is used instead.
        """
        # The fused scores cover all clips, so late figures count only for complete modalities.
        complete = [m for m in self.modalities if m not in self.data.absent]
        uars = [self.late(f"val_uar.{m}") for m in complete]
        uars += [self.late_single(m, "val_uar") for m in complete]
        uars += [self.val_uar(m, everywhere=True) for m in self.modalities if m not in complete]
        return 100 * (max([x for x in uars if np.isfinite(x)], default=0.0) - self.late("val_uar"))

    @property
    def steps(self) -> float:
        """Number of training steps of the fused model's branches, mean over folds.

        If the fused model starts from its baselines, the steps of the baselines count too.
        """
        totals: list[float] = []
        for fold in self.folds:
            steps = float(fold.fused.summary.get("step", 0))
            if "start" in fold.fused.summary:
                steps += self.mean([float(s.summary.get("step", 0)) for s in fold.single.values()])
            totals.append(steps)
        return self.mean(totals)

    @cached_property
    def best_single(self) -> tuple[str, float]:
        """Modality with the highest validation UAR on all clips, and its UAR; means over folds."""
        uars = {m: self.val_uar(m, everywhere=True) for m in self.modalities}
        best = max(uars, key=uars.__getitem__)
        return best, uars[best]

    @cached_property
    def behind(self) -> float:
        """Validation UAR of the best single modality minus that of the fused model, in points."""
        return 100 * (self.best_single[1] - self.val_uar(FUSED))

    def speakers(self, clips: Indices) -> npt.NDArray[Any]:
        """Return the speaker of each clip, prefixed by the corpus to keep corpora distinct."""
        every = self.data.clips
        return np.array([f"{every[i].corpus}/{every[i].speaker}" for i in clips])

    def _pools(self, members: Callable[[Fold], Sequence[npt.NDArray[Any]]]) -> list[HeldOutPool]:
        return [
            held_out_pool(
                members(fold),
                self.data.targets[fold.split.val],
                self.speakers(fold.split.val),
                self.data.present(self.modalities, fold.split.val),
            )
            for fold in self.folds
        ]

    @property
    def has_probes(self) -> bool:
        """True if every fold's fused model has a probe of every modality."""
        return all(
            set(self.modalities) <= set(fold.predictions[FUSED].unimodal) for fold in self.folds
        )

    @cached_property
    def probe_pools(self) -> list[HeldOutPool]:
        """Log-linear pool of the fused model's probes on validation, one per fold."""
        return self._pools(
            lambda fold: [fold.predictions[FUSED].unimodal[m] for m in self.modalities]
        )

    @cached_property
    def single_pools(self) -> list[HeldOutPool]:
        """Log-linear pool of the single-modality models on validation, one per fold."""
        return self._pools(
            lambda fold: [fold.predictions[m].probabilities for m in self.modalities]
        )

    def pool_points(self, pools: Sequence[HeldOutPool]) -> float:
        """Return the validation UAR of pools in points, mean over folds."""
        return 100 * self.mean(
            [
                self.uar(pool.probabilities.argmax(axis=1), fold.split.val)
                for pool, fold in zip(pools, self.folds, strict=True)
            ]
        )

    @cached_property
    def trust(self) -> dict[str, float]:
        """Effective share of each modality in the fused scores on validation, mean over folds.

        If the strategy reports the weights of all modalities, the shares are the mean weights.
        Otherwise the shares are measured on the predictions of the fused model and of its probes.
        """
        by_fold: list[npt.NDArray[Any]] = []
        for fold in self.folds:
            predictions = fold.predictions[FUSED]
            if set(self.modalities) <= set(predictions.weights):
                shares = np.array([predictions.weights[m].mean() for m in self.modalities])
            else:
                present = self.data.present(self.modalities, fold.split.val)
                probes = [predictions.unimodal[m] for m in self.modalities]
                shares = measured_shares(predictions.probabilities, probes, present)
            by_fold.append(shares)
        means = np.mean(by_fold, axis=0).tolist()
        return dict(zip(self.modalities, means, strict=True))

    @cached_property
    def blame(self) -> Blame:
        """Results of the isolating experiment, which shows the part that loses validation UAR."""
        return Blame(
            100 * self.val_uar(FUSED),
            self._fresh_head(),
            self.pool_points(self.probe_pools) if self.has_probes else float("nan"),
            self.pool_points(self.single_pools),
        )

    def _fresh_head(self) -> float:
        """Return the validation UAR in points of a linear head fitted to fixed embeddings."""
        uars: list[float] = []
        for fold in self.folds:
            embedded = None if self.embed is None else self.embed(fold.number)
            if embedded is None:
                return float("nan")
            probabilities = linear_head(
                embedded.train, embedded.targets, self.classes, embedded.val
            )
            uars.append(100 * self.uar(probabilities.argmax(axis=1), fold.split.val))
        return self.mean(uars)

    def having(self, clips: Indices, *modalities: str) -> Indices:
        """Return the clips that have all of the modalities; names of no modality are ignored."""
        return having(self.data.absent, clips, modalities)

    @cached_property
    def views(self) -> dict[str, Floats]:
        """Pooled view (n, P) of all clips by modality, for modalities with readable features."""
        return {
            branch.modality.name: pooled(
                branch.modality, self.arrays[branch.modality.name], len(self.data.clips)
            )
            for branch in self.spec.branches
            if branch.modality.name in self.arrays
        }


def gather(run: Run, *, jobs: int = 0) -> Evidence:
    """Read everything that the rules need from a run whose trainings are finished.

    Parameters
    ----------
    run : Run
        The run directory.
    jobs : int
        Worker processes for validation predictions that do not exist yet; 0 computes them in this
        process.

    Raises
    ------
    RunError
        If a training is not finished, or a file is damaged.
    """
    data, spec = run.data, run.record.model
    names = spec.modalities
    predictions = validate_all(run, jobs=jobs)
    folds = [
        Fold(
            number,
            split,
            _curve(run, Training(number, FUSED)),
            {m: _curve(run, Training(number, m)) for m in names},
            {model: predictions[Training(number, model)] for model in (*names, FUSED)},
        )
        for number, split in enumerate(data.splits)
    ]
    arrays, missing = _arrays(run)
    model = build_model(spec, run.registry)
    sizes = {
        owner: {name: sum(p.numel() for p in own) for name, own in layers_of(module)}
        for owner, module in [*model.branches.items(), ("", model.strategy)]
    }
    embed = None if missing else partial(_embedded, run)
    return Evidence(run.config, spec, data, folds, arrays, sizes, missing, embed, run.signals)


def _embedded(run: Run, number: int) -> Embedded | None:
    """Embed the training and validation clips of a fold; None if the features can't be read."""
    from ...contracts.errors import FusionError

    split = run.data.splits[number]
    train = split.train
    if len(train) > _MOST:
        train = np.sort(np.random.default_rng(0).choice(train, _MOST, replace=False))
    try:
        model, features = fold_features(run, Training(number, FUSED))
        precision = choose_precision(run.config.train.precision, features.device)
        rows = [_side_by_side(model, features, part, precision) for part in (train, split.val)]
    except (FusionError, OSError):
        return None
    return Embedded(rows[0], run.data.targets[train], rows[1])


def _side_by_side(
    model: FusionModel, features: Features, clips: Indices, precision: torch.dtype
) -> Floats:
    """Return the concatenated embeddings of all modalities, (n, P)."""
    parts = [
        torch.cat([z.float() for z in part.embeddings.values()], dim=1).cpu().numpy()
        for part, *_ in encoded(model, features, clips, precision)
    ]
    joined: Floats = np.concatenate(parts).astype(np.float64)
    return joined


def _curve(run: Run, training: Training) -> Curve:
    summary = run.summary(training.name)
    return Curve(kept_epochs(run, training, summary), summary)


def _arrays(run: Run) -> tuple[dict[str, Arrays], str]:
    """Return features by modality, or an empty dict and the reason if the cache lacks features.

    A long clip has the features of its middle. Features of a speaker-adapted run are adapted with
    all speakers as the population, because the same arrays serve all folds.
    """
    from ...contracts.errors import FusionError

    try:
        config, data = run.config, run.data
        cache = FeatureCache(config.cache)
        extractors = make_extractors(config, run.registry)
        arrays = {
            m: stored_arrays(cache, fingerprint_of(e), m, data, config)
            for m, e in extractors.items()
        }
        if config.adapt == "speaker":
            for modality in (b.modality for b in run.record.model.branches):
                m = modality.name
                fingerprint = fingerprint_of(extractors[m])
                moments = speaker_moments(run.path, fingerprint, modality, arrays[m], data, config)
                arrays[m] = adapted(arrays[m], moments, data, None, m)
        return {m: data.by_clip(m, own) for m, own in arrays.items()}, ""
    except (FusionError, OSError) as error:
        return {}, getattr(error, "message", str(error))
