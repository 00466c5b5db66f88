"""What each modality, and each channel of it, brings to the models of a finished run.

Three questions, because no one figure answers all of them:

* How much of the score is each modality's? Shapley values: what it adds, averaged over every
  order in which the strategy could be shown the modalities (Shapley 1953).
* How much worse would the model be without it? Its values are replaced by their training mean,
  and by those of other clips (Breiman 2001, *Random forests*, sec. 10), with the model as it
  is. A mean is an input that the model never saw; another clip's values are real but may not
  go with the rest. Where the two disagree, trust neither alone.
* What do the predictions rest on? Integrated gradients (Sundararajan 2017).

They speak of the models, not of the speech: of two channels that say the same a model may use
either, and neither is missed while the other is there.
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
    """Explain a run's trained models on the clips of their own folds.

    The arguments are those of :func:`fusion.explain`, and so are the errors.
    """
    if part not in ("val", "test"):
        raise UnknownNameError("part to explain", part, ("val", "test"))
    if permutations < 1:
        raise ParameterError(f"permutations must be at least 1, and is {permutations}.")
    check_finished(run)
    spec = _spec(run, model)
    groups = tuple(groups_of_run(run, spec, axes))
    explain_fold = _ExplainFold(part, groups, permutations, device, run.registry.requests)
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
    """Raise unless the run has chosen its models: before that, no test clip may be read.

    Raises
    ------
    RunError
        If it is not finished.
    """
    if run.record.handed_out is None:
        raise RunError(
            f"The run {run.path} is not finished: there is no chosen model to explain yet.",
            hint=f"Finish it: fusion run --resume {run.path}",
        )


def groups_of_run(run: Run, spec: ModelSpec, axes: Mapping[str, str] | None) -> list[Group]:
    """The modalities of a model and their parts, named as the extractors name them."""
    modalities: list[Modality] = [branch.modality for branch in spec.branches]
    used = replace(run.config, features=tuple(m.name for m in modalities))
    extractors = make_extractors(used, run.registry)
    return groups_of(modalities, {m: e.channels for m, e in extractors.items()}, axes)


def _spec(run: Run, model: str) -> ModelSpec:
    spec = run.record.model
    if model not in (FUSED, *spec.modalities):
        raise UnknownNameError("model of this run", model, (FUSED, *spec.modalities))
    return spec if model == FUSED else spec.single(model)


@dataclass(frozen=True)
class _ExplainFold:
    """What a process is told; see :func:`explain`."""

    part: str
    groups: tuple[Group, ...]
    permutations: int
    device: str | None
    plugins: tuple[str, ...]

    def __call__(self, run: Run, training: Training, workers: int) -> Evidence:
        run = run.with_plugins(self.plugins)
        model, features = fold_features(run, training, self.device)
        indices: Indices = getattr(run.data.splits[training.fold], self.part)
        indices = features.complete_clips(indices)
        if not len(indices):
            raise RunError(
                f"No {self.part} clip of fold {training.fold} has every modality: there is nothing "
                "to explain.",
                hint="Explain one of them alone: --model MODALITY",
            )
        explained = Explained([Part(model)])
        inputs = explained.standardised(features.batch(indices)[0])
        others = permuted(len(indices), self.permutations, training.fold)
        return gather(explained, inputs, indices, self.groups, others)


def permuted(clips: int, permutations: int, fold: int) -> npt.NDArray[np.int64]:
    """For each permutation, which clip stands in for each clip, (R, n) int64."""
    rng = np.random.default_rng([SEED, fold])
    return np.array([rng.permutation(clips) for _ in range(permutations)], dtype=np.int64)


# -- what a reader has to know -------------------------------------------------------


def _notes(
    run: Run, device: str | None, spec: ModelSpec, part: str, evidence: Sequence[Evidence]
) -> tuple[str, ...]:
    notes = [sentence] if (sentence := task_sentence(run.config.adapt)) else []
    if len(spec.branches) > 1:
        notes += absence_notes(
            all(e.knows_absence for e in evidence), f"The strategy {spec.strategy}"
        )
    if any(m.modality.name in run.data.absent for m in spec.branches):
        told = sum(len(e.indices) for e in evidence)
        notes.append(f"Some clips lack a modality: these are the {told} clips that have all.")
    where = choose_device(device or run.config.device)
    if choose_precision(run.config.train.precision, where) is not torch.float32:
        notes.append(
            "The run computed its scores in bfloat16, and here all is float32: a clip or two may "
            "fall into another class."
        )
    if part == "val":
        notes.append("Validation chose the epochs of these models: its scores are flattered.")
    speakers = {(run.data.clips[i].corpus, run.data.clips[i].speaker)
                for e in evidence for i in e.indices}  # fmt: skip
    if len(speakers) < 2:
        notes.append("With one speaker there is no interval: nothing here need hold for another.")
    missed = [np.abs(e.gap) > 2 * TOLERANCE * np.maximum(np.abs(e.difference), 1) for e in evidence]
    if count := int(np.concatenate(missed).sum()):
        notes.append(
            f"In {count} clips the integrated gradients miss the score by more than "
            f"{200 * TOLERANCE:.0f} %: the model bends sharply there."
        )
    if run.record.synthetic:
        notes.append("Generated voices: these figures are evidence of nothing.")
    return tuple(notes)


def absence_notes(knows_absence: bool, who: str) -> list[str]:
    """What Shapley values rest on where `who` is never told what is absent."""
    if knows_absence:
        return []
    return [
        f"{who} knows no absence: for the Shapley values the embedding or map of a modality that "
        "is left out is all zeros, which training may never have shown it."
    ]
