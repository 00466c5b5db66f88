"""Everything that the rules look at: one run, read back. Test is not a part of it."""

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
from ...training.hardware.device import choose_precision
from ...training.inference import Predictions, encoded
from ...training.model import FusionModel, ModelSpec, build_model
from ...training.recorder import layers_of
from .pools import HeldOutPool, Targets, held_out_pool, linear_head, measured_shares
from .views import Floats, pooled

Record = Mapping[str, Any]
_LATE = 0.2  # share of the epochs that "late" means
_MOST = 2000  # training clips that a fresh head is fitted to


@dataclass(frozen=True)
class Curve:
    """The epochs of one training, and what it ended with."""

    records: Sequence[Record]
    summary: Record

    def late(self, key: str) -> float:
        """Mean of a figure over the last fifth of the epochs; NaN where there is none."""
        values = self.values(key)
        count = max(1, round(_LATE * len(self.records)))
        return float(np.mean(values[-count:])) if values else float("nan")

    def values(self, key: str) -> list[float]:
        return [float(r[key]) for r in self.records if isinstance(r.get(key), int | float)]

    @cached_property
    def layers(self) -> dict[str, dict[str, float]]:
        """Owner -> layer -> the largest relative change per step that was seen."""
        found: dict[str, dict[str, float]] = {}
        for record in self.records:
            for owner, layers in record.get("layers", {}).items():
                for layer, (_, update) in layers.items():
                    known = found.setdefault(owner, {})
                    known[layer] = max(known.get(layer, 0.0), update or 0.0)
        return found


@dataclass(frozen=True)
class Fold:
    """One fold: its trainings, and what their models say about its validation clips."""

    number: int
    split: Split
    fused: Curve
    single: Mapping[str, Curve]
    said: Mapping[str, Predictions]  # by model


@dataclass(frozen=True)
class Embedded:
    """Embeddings that the branches of a fused model give to clips of one fold.

    Attributes
    ----------
    train, val : array
        (n, P) and (k, P): all modalities side by side, 0 for one that a clip lacks.
    targets : array
        (n,) classes of the training clips.
    """

    train: Floats
    targets: Targets
    val: Floats


@dataclass(frozen=True)
class Blame:
    """Validation UAR of what isolates the branches, the trust and the head, in points.

    Attributes
    ----------
    fused : float
        The fused model.
    head : float
        A fresh linear head on the embeddings of the fused model, fitted to training clips; NaN
        where the features can't be read.
    probes : float
        The log-linear pool of the fused model's probes.
    singles : float
        The log-linear pool of the single-modality models.
    """

    fused: float
    head: float
    probes: float
    singles: float


@dataclass
class Evidence:
    """What there is to judge a run by."""

    config: RunConfig
    spec: ModelSpec
    data: RunData
    folds: Sequence[Fold]
    arrays: Mapping[str, Arrays] = field(default_factory=dict)
    # Weights of each layer by modality; "" the head. Empty where nothing is known of it.
    layer_sizes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    missing: str = ""  # why there are no arrays
    embed: Callable[[int], Embedded | None] | None = None  # of the fused model, by fold

    @property
    def modalities(self) -> list[str]:
        return [branch.modality.name for branch in self.spec.branches]

    @property
    def classes(self) -> int:
        return self.spec.num_classes

    @property
    def sizes(self) -> dict[str, int]:
        """Number of weights by modality; of the head under ``""``."""
        return {owner: sum(layers.values()) for owner, layers in self.layer_sizes.items()}

    def mean(self, of: Sequence[float]) -> float:
        """Over folds, those that have none left out."""
        there = [x for x in of if np.isfinite(x)]
        return float(np.mean(there)) if there else float("nan")

    def late(self, key: str) -> float:
        """Of the fused model's trainings."""
        return self.mean([fold.fused.late(key) for fold in self.folds])

    def first(self, key: str) -> float:
        """After the first epoch of the fused model's trainings, before the weights have adapted."""
        return self.mean([(f.fused.values(key) or [float("nan")])[0] for f in self.folds])

    def late_single(self, modality: str, key: str) -> float:
        return self.mean([fold.single[modality].late(key) for fold in self.folds])

    def inputs(self, modality: str, which: str, figure: str) -> float:
        """Of the training clips: ``"raw"`` or ``"seen"``, and a figure of input_statistics."""
        found = [
            fold.fused.summary.get("inputs", {}).get(modality, {}).get(which, {}).get(figure)
            for fold in self.folds
        ]
        return self.mean([float("nan") if x is None else float(x) for x in found])

    def val_uar(self, model: str, *, everywhere: bool = False) -> float:
        """UAR on validation of what is handed out of a model, mean over folds.

        Of a modality, over the clips that have it, or `everywhere`.
        """
        uars: list[float] = []
        for fold in self.folds:
            val = fold.split.val
            clips = val if everywhere else self.known(val, model)
            said = fold.said[model].probabilities.argmax(axis=1)
            uars.append(self.uar(said[np.isin(val, clips)], clips))
        return self.mean(uars)

    def uar(self, said: npt.NDArray[Any], clips: Indices) -> float:
        """Of predicted classes of some clips."""
        return float(uar(confusion_matrix(self.data.targets[clips], said, self.classes)))

    @property
    def lost(self) -> float:
        """Points of UAR, late on validation, that fused scores are below the best known ones.

        Of a single modality or a probe.
        """
        # Only of modalities that every clip has: the fused scores are of all clips.
        whole = [m for m in self.modalities if m not in self.data.absent]
        known = [self.late(f"val_uar.{m}") for m in whole]
        known += [self.late_single(m, "val_uar") for m in whole]
        known += [self.val_uar(m, everywhere=True) for m in self.modalities if m not in whole]
        return 100 * (max([x for x in known if np.isfinite(x)], default=0.0) - self.late("val_uar"))

    @property
    def steps(self) -> float:
        """Training steps that the fused model has behind it, mean over folds.

        The steps of its baselines count where it starts from them: its branches took them.
        """
        found: list[float] = []
        for fold in self.folds:
            steps = float(fold.fused.summary.get("step", 0))
            if "start" in fold.fused.summary:
                steps += self.mean([float(s.summary.get("step", 0)) for s in fold.single.values()])
            found.append(steps)
        return self.mean(found)

    @cached_property
    def best_single(self) -> tuple[str, float]:
        """Modality with the highest mean UAR on validation over all clips, and that UAR."""
        uars = {m: self.val_uar(m, everywhere=True) for m in self.modalities}
        best = max(uars, key=uars.__getitem__)
        return best, uars[best]

    @cached_property
    def behind(self) -> float:
        """Points of UAR that the fused model is below the best single modality on validation."""
        return 100 * (self.best_single[1] - self.val_uar(FUSED))

    def speakers(self, clips: Indices) -> npt.NDArray[Any]:
        """Speaker of each of the clips; speakers of two corpora are never the same."""
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
        """Whether the fused models of all folds have predictions of a probe of every modality."""
        return all(set(self.modalities) <= set(fold.said[FUSED].unimodal) for fold in self.folds)

    @cached_property
    def probe_pools(self) -> list[HeldOutPool]:
        """Log-linear pool of the fused model's probes on validation, for each fold."""
        return self._pools(lambda fold: [fold.said[FUSED].unimodal[m] for m in self.modalities])

    @cached_property
    def single_pools(self) -> list[HeldOutPool]:
        """Log-linear pool of the single-modality models on validation, for each fold."""
        return self._pools(lambda fold: [fold.said[m].probabilities for m in self.modalities])

    def pool_points(self, pools: Sequence[HeldOutPool]) -> float:
        """UAR of pools on validation in points, mean over folds."""
        return 100 * self.mean(
            [
                self.uar(pool.probabilities.argmax(axis=1), fold.split.val)
                for pool, fold in zip(pools, self.folds, strict=True)
            ]
        )

    @cached_property
    def trust(self) -> dict[str, float]:
        """Modality -> its effective share in the fused scores on validation, mean over folds.

        The weights of the strategy where it has any; else measured on the predictions of the
        fused model and of its probes.
        """
        found: list[npt.NDArray[Any]] = []
        for fold in self.folds:
            said = fold.said[FUSED]
            if set(self.modalities) <= set(said.weights):
                shares = np.array([said.weights[m].mean() for m in self.modalities])
            else:
                present = self.data.present(self.modalities, fold.split.val)
                probes = [said.unimodal[m] for m in self.modalities]
                shares = measured_shares(said.probabilities, probes, present)
            found.append(shares)
        means = np.mean(found, axis=0).tolist()
        return dict(zip(self.modalities, means, strict=True))

    @cached_property
    def blame(self) -> Blame:
        """The isolating experiment: which part of the fused model loses points on validation."""
        return Blame(
            100 * self.val_uar(FUSED),
            self._fresh_head(),
            self.pool_points(self.probe_pools) if self.has_probes else float("nan"),
            self.pool_points(self.single_pools),
        )

    def _fresh_head(self) -> float:
        found: list[float] = []
        for fold in self.folds:
            embedded = None if self.embed is None else self.embed(fold.number)
            if embedded is None:
                return float("nan")
            said = linear_head(embedded.train, embedded.targets, self.classes, embedded.val)
            found.append(100 * self.uar(said.argmax(axis=1), fold.split.val))
        return self.mean(found)

    def known(self, clips: Indices, *modalities: str) -> Indices:
        """Those of the clips that have all of the modalities; the fused model is none."""
        return having(self.data.absent, clips, modalities)

    @cached_property
    def views(self) -> dict[str, Floats]:
        """Modality -> (n, P), of all clips; empty where the features are gone."""
        return {
            branch.modality.name: pooled(
                branch.modality, self.arrays[branch.modality.name], len(self.data.clips)
            )
            for branch in self.spec.branches
            if branch.modality.name in self.arrays
        }


def gather(run: Run, *, jobs: int = 0) -> Evidence:
    """Read what a run whose trainings are done left behind.

    Parameters
    ----------
    jobs : int
        Processes for predictions on validation that were not made yet; 0 means this one.

    Raises
    ------
    RunError
        If a training is not finished, or a file is damaged.
    """
    data, spec = run.data, run.record.model
    names = spec.modalities
    said = validate_all(run, jobs=jobs)
    folds = [
        Fold(
            number,
            split,
            _curve(run, Training(number, FUSED)),
            {m: _curve(run, Training(number, m)) for m in names},
            {model: said[Training(number, model)] for model in (*names, FUSED)},
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
    return Evidence(run.config, spec, data, folds, arrays, sizes, missing, embed)


def _embedded(run: Run, number: int) -> Embedded | None:
    """Embed the training and validation clips of a fold; None where the features are gone."""
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
    """Embeddings of all modalities, (n, P)."""
    found = [
        torch.cat([z.float() for z in part.embeddings.values()], dim=1).cpu().numpy()
        for part, *_ in encoded(model, features, clips, precision)
    ]
    joined: Floats = np.concatenate(found).astype(np.float64)
    return joined


def _curve(run: Run, training: Training) -> Curve:
    summary = run.summary(training.name)
    return Curve(kept_epochs(run, training, summary), summary)


def _arrays(run: Run) -> tuple[dict[str, Arrays], str]:
    """The features, where they still are in the cache.

    Of a speaker-adapted run they are adapted, all speakers taken as the population: these arrays
    serve all folds at once.
    """
    from ...contracts.errors import FusionError

    try:
        config, data = run.config, run.data
        cache = FeatureCache(config.cache)
        extractors = make_extractors(config, run.registry)
        found = {
            m: stored_arrays(cache, fingerprint_of(e), m, data, config)
            for m, e in extractors.items()
        }
        if config.adapt == "speaker":
            for modality in (b.modality for b in run.record.model.branches):
                m = modality.name
                fingerprint = fingerprint_of(extractors[m])
                moments = speaker_moments(run.path, fingerprint, modality, found[m], data, config)
                found[m] = adapted(found[m], moments, data, None)
        return found, ""
    except (FusionError, OSError) as error:
        return {}, getattr(error, "message", str(error))
