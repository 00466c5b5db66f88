"""Contribution of each modality and channel to the predictions of a finished run's models.

Three measures answer three questions, because no single measure answers all of them:

* How much of the score is due to each modality? The Shapley value is the gain from adding the
  modality, averaged over every order in which the modalities can be added (Shapley 1953).
* How much worse is the model without a modality or channel? One drop replaces the values of the
  modality or channel by their training mean. The other drop uses the values of other clips
  (Breiman 2001, *Random forests*, sec. 10). The model is not retrained. A training mean may
  be unlike all training inputs. The values of another clip are real, but may not fit the rest of
  the input. If the two drops disagree, trust neither alone.
* Which inputs do the predictions depend on? Integrated gradients divide a class's log-probability,
  relative to that of the mean input, among all input values (Sundararajan 2017).

All three measures describe the models, not the speech. If two channels are redundant, a model may
use either channel. Removing one channel then costs nothing while the other channel is present.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from ...contracts import Modality
from ...contracts.errors import ParameterError, RunError, UnknownNameError
from ...data.features import Indices
from ...data.task import task_sentence
from ...runs.bundle import Part
from ...runs.execution.scheduler import in_processes
from ...runs.outcome.predictions import fold_features
from ...runs.plan import make_extractors
from ...runs.run import Run
from ...runs.trainings import FUSED, Training
from ...training.hardware.device import choose_device, choose_precision
from ...training.model import ModelSpec
from .evidence import Evidence, gather
from .gradients import TOLERANCE
from .groups import Group, groups_of
from .model import Explained
from .summary import Explanation, summarise

FILE = "explain.json"
PERMUTATIONS = 10
SEED = 0


def explain(
    run: Run,
    *,
    model: str = FUSED,
    part: Literal["val", "test"] = "test",
    axes: Mapping[str, str] | None = None,
    device: str | None = None,
    permutations: int = PERMUTATIONS,
    jobs: int = 1,
) -> Explanation:
    """Explain the trained models of a run, each model on clips of its own fold.

    :func:`fusion.explain` documents the arguments and the errors.
    """
    if part not in ("val", "test"):
        raise UnknownNameError("part to explain", part, ("val", "test"))
    if permutations < 1:
        raise ParameterError(f"permutations must be 1 or more, and is {permutations}.")
    check_finished(run)
    spec = _spec(run, model)
    groups = tuple(groups_of_run(run, spec, axes))
    explain_fold = _ExplainFold(part, groups, permutations, device)
    trainings = [Training(fold, model) for fold in range(len(run.data.splits))]
    processes = jobs if min(jobs, len(trainings)) > 1 else 0
    evidence = in_processes(explain_fold, run, trainings, processes, lambda: None)
    return summarise(
        run.data,
        evidence,
        groups,
        spec.modalities,
        run=str(run.path),
        model=model,
        part=part,
        notes=_notes(run, device, spec, part, evidence),
    )


def check_finished(run: Run) -> None:
    """Raise RunError unless the run has chosen its models.

    Test clips may be read only after that choice.
    """
    if run.record.handed_out is None:
        raise RunError(
            f"The run {run.path} is not finished: it has no chosen model yet.",
            hint=f"Resume the run: fusion run --resume {run.path}",
        )


def groups_of_run(run: Run, spec: ModelSpec, axes: Mapping[str, str] | None) -> list[Group]:
    """Return the modalities of a model and their parts, with the extractors' channel names."""
    modalities: list[Modality] = [branch.modality for branch in spec.branches]
    used = replace(run.config, features=tuple(m.name for m in modalities))
    extractors = make_extractors(used, run.registry)
    return groups_of(modalities, {m: e.channels for m, e in extractors.items()}, axes)


def _spec(run: Run, model: str) -> ModelSpec:
    """Return the specification of the fused model or of one modality's model."""
    spec = run.record.model
    if model not in (FUSED, *spec.modalities):
        raise UnknownNameError("model of this run", model, (FUSED, *spec.modalities))
    return spec if model == FUSED else spec.single(model)


@dataclass(frozen=True)
class _ExplainFold:
    """Task of one worker process: explain the model of one fold; see :func:`explain`."""

    part: str
    groups: tuple[Group, ...]
    permutations: int
    device: str | None

    def __call__(self, run: Run, training: Training, workers: int) -> Evidence:
        model, features = fold_features(run, training, self.device)
        indices: Indices = getattr(run.data.splits[training.fold], self.part)
        indices = features.complete_clips(indices)
        if not len(indices):
            raise RunError(
                f"No {self.part} clip of fold {training.fold} has every modality, so there is "
                "nothing to explain.",
                hint="Explain the model of one modality: --model MODALITY",
            )
        explained = Explained([Part(model)])
        inputs = explained.standardised(features.batch(indices)[0])
        replacements = permuted(len(indices), self.permutations, training.fold)
        return gather(explained, inputs, indices, self.groups, replacements)


def permuted(clips: int, permutations: int, fold: int) -> npt.NDArray[np.int64]:
    """Return the clip whose values replace each clip in each permutation, (R, n) int64."""
    rng = np.random.default_rng([SEED, fold])
    return np.array([rng.permutation(clips) for _ in range(permutations)], dtype=np.int64)


# -- caveats -------------------------------------------------------------------------


def _notes(
    run: Run, device: str | None, spec: ModelSpec, part: str, evidence: Sequence[Evidence]
) -> tuple[str, ...]:
    """Return the caveats that apply to an explanation, of one or two sentences each."""
    notes = [sentence] if (sentence := task_sentence(run.config.adapt)) else []
    if len(spec.branches) > 1:
        notes += absence_notes(
            all(e.knows_absence for e in evidence), f"The strategy {spec.strategy}"
        )
    if any(m.modality.name in run.data.absent for m in spec.branches):
        count = sum(len(e.indices) for e in evidence)
        notes.append(f"Some clips lack a modality; the figures are of the {count} complete clips.")
    if any(m.modality.name in run.data.divided for m in spec.branches):
        notes.append("Of a long clip, only the window in its middle is explained.")
    used_device = choose_device(device or run.config.device)
    if choose_precision(run.config.train.precision, used_device) is not torch.float32:
        notes.append(
            "The run computed its scores in bfloat16, this explanation uses float32: the predicted "
            "class of a few clips may differ."
        )
    if part == "val":
        notes.append(
            "The epochs of these models were chosen on validation, so validation scores are "
            "optimistic."
        )
    speakers = {(run.data.clips[i].corpus, run.data.clips[i].speaker)
                for e in evidence for i in e.indices}  # fmt: skip
    if len(speakers) < 2:
        notes.append(
            "With one speaker no interval can be computed, and the figures may not hold for "
            "other speakers."
        )
    missed = [np.abs(e.gap) > 2 * TOLERANCE * np.maximum(np.abs(e.difference), 1) for e in evidence]
    if count := int(np.concatenate(missed).sum()):
        notes.append(
            f"In {count} clips the sum of the integrated gradients differs from the score by more "
            f"than {200 * TOLERANCE:.0f} %, because the model is strongly non-linear there."
        )
    if run.record.synthetic:
        notes.append(
            "The recordings are synthetic: these figures are no evidence about real speech."
        )
    return tuple(notes)


def absence_notes(knows_absence: bool, subject: str) -> list[str]:
    """Return a caveat on Shapley values if the model `subject` can't handle absent modalities."""
    if knows_absence:
        return []
    return [
        f"{subject} can't handle absent modalities: for the Shapley values, the embedding or map "
        "of a modality that is left out is all zeros, which the model may never have seen in "
        "training."
    ]
