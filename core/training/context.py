"""Implementation of the training context that balancers receive."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..contracts import Baseline, Outputs, Step
from ..contracts.model import Part, Presence
from ..contracts.train_config import TrainConfig
from ..data.features import Features, Indices, number_of_batches
from ..toolkit.device import on_device
from ..toolkit.modules import evaluating, quiet_statistics
from ..toolkit.shapley import shapley_values
from .baselines import warm_start
from .hardware.device import choose_precision
from .inference import autocast, outputs
from .model import FusionModel


class TrainingContext:
    """Implementation of :class:`~fusion.core.contracts.Context`.

    Parameters
    ----------
    model : FusionModel
        The model, on the features' device.
    config : TrainConfig
        Budget and settings.
    features : Features, optional
        Features of the clips; None while a request is only being checked.
    parts : mapping of str to array of int64
        Indices of the clips of ``"train"`` and ``"val"``.
    baselines : mapping of str to Baseline
        The single-modality baselines, if the training needs them.
    """

    def __init__(
        self,
        model: FusionModel,
        config: TrainConfig,
        features: Features | None = None,
        parts: Mapping[str, Indices] | None = None,
        baselines: Mapping[str, Baseline] | None = None,
    ) -> None:
        self.model = model
        self.config = config
        self.modalities = model.modalities
        self.baselines: Mapping[str, Baseline] = dict(baselines or {})
        self.checking = features is None
        self.device = torch.device("cpu") if features is None else features.device
        self.precision = choose_precision(config.precision, self.device)
        self._features = features
        self._parts = dict(parts or {})
        clips = len(self._parts.get("train", ()))
        self.steps_per_epoch = number_of_batches(clips, config.batch_size)
        self.class_weights = self._class_weights().to(self.device)
        self._outputs: dict[str, Outputs] = {}

    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of class scores (B, C), with class weights and label smoothing."""
        return functional.cross_entropy(
            logits, labels, weight=self.class_weights, label_smoothing=self.config.label_smoothing
        )

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Return a context manager that sets the precision of the training."""
        return autocast(self.device, self.precision)

    def outputs(self, part: Part, *, subsets: bool = False) -> Outputs:
        """Return the current model's outputs for `part`, kept until the weights change."""
        cached = self._outputs.get(part)
        if cached is None or (subsets and not cached.subsets):
            features, indices = self._clips(part)
            cached = outputs(self.model, features, indices, self.precision, subsets=subsets)
            self._outputs[part] = cached
        return cached

    def batch(self, part: Part, size: int, generator: torch.Generator) -> Step:
        """Return a step on `size` random clips, with its `fused_loss`, in evaluation mode.

        A random window of each long clip is used.
        """
        features, indices = self._clips(part)
        chosen = torch.randperm(len(indices), generator=generator)[:size].numpy()
        rows: Indices | None = None
        if features.rows is not None:
            seed = int(torch.randint(2**62, (), generator=generator))
            rows = features.random_rows(indices[chosen], np.random.default_rng(seed))
        raw, labels = features.batch(indices[chosen], rows)
        model = self.model
        presence = features.presence(indices[chosen])
        present = shown(None, labels, len(self.modalities), presence)
        step = Step(self, 0, 0, labels, generator, present, presence)
        step.inputs = model.standardised(raw)
        # cuDNN's recurrent layers have no backward pass in evaluation mode; torch's own do.
        with evaluating(model), self.autocast(), torch.backends.cudnn.flags(
            enabled=not any(isinstance(part, nn.RNNBase) for part in model.modules())
        ):  # fmt: skip
            step.encoded = model.encode(step.inputs, presence)
            step.representations = model.strategy_inputs(step.encoded)
            step.logits = model.fuse(
                step.representations, None if presence is None else present
            ).float()
            step.unimodal = {m: p.float() for m, p in model.probe(step.encoded).items()}
        step.fused_loss = step.cross_entropy(step.logits)
        return step

    def fuse(self, step: Step, modalities: Collection[str]) -> Tensor:
        """Return the strategy's class scores (B, C) from only some `modalities` of a step."""
        names = {m for m in modalities if m in step.shown}
        inputs = {
            m: x if m in names else torch.zeros_like(x) for m, x in step.representations.items()
        }
        flags = torch.tensor([m in names for m in self.modalities])
        visible = on_device(flags, step.present.device)
        with self.autocast(), quiet_statistics(self.model.strategy):
            return self.model.fuse(inputs, step.present & visible).float()

    def contributions(self, step: Step) -> dict[str, Tensor]:
        """Return the Shapley value (B, C) of each modality for the fused scores of a step."""
        return shapley_values(step.fuse, self.modalities)

    def warm_start(self) -> None:
        """Set the weights of every branch and probe to those of its single-modality baseline."""
        warm_start(self.model, self.baselines)

    def changed(self) -> None:
        """Discard the cached outputs; call this after every change of the weights."""
        self._outputs.clear()

    def _clips(self, part: Part) -> tuple[Features, Indices]:
        assert self._features is not None, "a balancer may not ask for clips in setup"
        return self._features, self._parts[part]

    def _class_weights(self) -> Tensor:
        classes = self.model.num_classes
        if self._features is None:
            return torch.ones(classes)
        labels = self._features.targets.cpu()[torch.from_numpy(self._parts["train"])]
        counts = torch.bincount(labels, minlength=classes).clamp_min(1)
        power = {"none": 0.0, "sqrt": 0.5, "balanced": 1.0}[self.config.class_weights]
        return (counts.sum() / (classes * counts)) ** power


def shown(
    present: npt.NDArray[np.bool_] | None,
    labels: Tensor,
    modalities: int,
    presence: Presence | None = None,
) -> Tensor:
    """Return (B, M) bool: the modalities that a clip has and that the strategy may see.

    Parameters
    ----------
    present : array or None
        (B, M) bool: the modalities that the strategy may see; None means all.
    labels : Tensor
        (B,) int64; the result is on the same device.
    modalities : int
        Number of modalities, M.
    presence : Presence, optional
        The modalities that the clips have; None means all.
    """
    if present is None:
        table = torch.ones(len(labels), modalities, dtype=torch.bool, device=labels.device)
    else:
        table = on_device(torch.from_numpy(np.ascontiguousarray(present)), labels.device)
    return table if presence is None else table & presence.table
