"""Everything that the rules look at: one run, read back. Test is not a part of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...cache import FeatureCache
from ..adaptation import adapted
from ..config import RunConfig
from ..extraction import fingerprint_of
from ..features import Arrays, Indices
from ..fold_predictions import validate_all
from ..history import kept_epochs
from ..inference import Predictions
from ..metrics import confusion_matrix, uar
from ..model import ModelSpec, build_model, count_parameters
from ..prepare import make_extractors
from ..presence import having
from ..registry import Registry
from ..run_dir import RunData, RunDirectory
from ..splits import Split
from ..trainings import FUSED, Training, speaker_moments, stored_arrays
from .views import Floats, pooled

Record = Mapping[str, Any]
_LATE = 0.2  # share of the epochs that "late" means


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


@dataclass
class Evidence:
    """What there is to judge a run by."""

    config: RunConfig
    spec: ModelSpec
    data: RunData
    folds: Sequence[Fold]
    arrays: Mapping[str, Arrays] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)  # weights by modality; "" the head
    missing: str = ""  # why there are no arrays

    @property
    def modalities(self) -> list[str]:
        return [branch.modality.name for branch in self.spec.branches]

    @property
    def classes(self) -> int:
        return self.spec.num_classes

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


def gather(run: RunDirectory, registry: Registry, *, jobs: int = 0) -> Evidence:
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
    info, data = run.info(), run.read_clips()
    config = RunConfig.from_json(info["config"])
    spec = ModelSpec.from_json(info["model"])
    names = [branch.modality.name for branch in spec.branches]
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
    arrays, missing = _arrays(run.path, config, registry, data, spec)
    model = build_model(spec, registry)
    sizes = {m: count_parameters(branch) for m, branch in model.branches.items()}
    sizes[""] = count_parameters(model.strategy)
    return Evidence(config, spec, data, folds, arrays, sizes, missing)


def _curve(run: RunDirectory, training: Training) -> Curve:
    summary = run.read_json(f"{training.name}/training.json")
    return Curve(kept_epochs(run, training, summary), summary)


def _arrays(
    path: Path, config: RunConfig, registry: Registry, data: RunData, spec: ModelSpec
) -> tuple[dict[str, Arrays], str]:
    """The features, where they still are in the cache.

    Of a speaker-adapted run they are adapted, all speakers taken as the population: these arrays
    serve all folds at once.
    """
    from ..errors import FusionError

    try:
        cache = FeatureCache(config.cache)
        extractors = make_extractors(config, registry)
        found = {
            m: stored_arrays(cache, fingerprint_of(e), m, data, config)
            for m, e in extractors.items()
        }
        if config.adapt == "speaker":
            for modality in (b.modality for b in spec.branches):
                m = modality.name
                fingerprint = fingerprint_of(extractors[m])
                moments = speaker_moments(path, fingerprint, modality, found[m], data, config)
                found[m] = adapted(found[m], moments, data, None)
        return found, ""
    except (FusionError, OSError) as error:
        return {}, getattr(error, "message", str(error))
