"""The one training loop."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from .augment import augment
from .averaging import WeightAverage
from .checkpoint import load_checkpoint, save_checkpoint
from .config import TrainConfig
from .contracts import Balancer, Gradients, Step
from .device import choose_precision
from .errors import TrainingError
from .features import Features, Indices, batches, kept_axes, number_of_batches
from .inference import autocast, predict
from .metrics import confusion_matrix, uar
from .model import FusionModel
from .optim import Optimizer, parameter_groups


@dataclass
class Progress:
    """How far a training is: everything but weights that a checkpoint holds.

    `best_score` is what the best epoch was chosen by, `best_uar` its own validation UAR.
    """

    epoch: int = 0
    step: int = 0
    best_epoch: int = 0
    best_score: float = -1.0
    best_loss: float = math.inf
    best_uar: float = 0.0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)


class Trainer:
    """Trains a model on one split; afterwards the model holds the weights of its best epoch.

    The best epoch is the one with the highest UAR on validation, averaged over the epochs
    before it (``train.smooth``); among equals, the lowest validation loss. The test part is
    never touched here.

    Parameters
    ----------
    model : FusionModel
        On the features' device.
    features : Features
        The clips.
    train, val : array of int64
        Indices of clips.
    config : TrainConfig
        Budget and settings.
    balancers : sequence of Balancer
        Called in this order.
    seed : int
        Of the order of clips, masks and dropout.
    checkpoint : Path, optional
        Where to keep the state after each epoch; a training that finds one there goes on
        from it and ends as if it had never stopped.
    on_epoch : callable, optional
        Receives the metrics of each epoch; those of epochs before a resumption first.

    Raises
    ------
    TrainingError
        When a loss is no longer finite.
    """

    def __init__(
        self,
        model: FusionModel,
        features: Features,
        train: Indices,
        val: Indices,
        config: TrainConfig,
        *,
        balancers: Sequence[Balancer] = (),
        seed: int = 0,
        checkpoint: Path | None = None,
        on_epoch: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> None:
        self.model = model
        self.features = features
        self.train = train
        self.val = val
        self.config = config
        self.balancers = list(balancers)
        self.seed = seed
        self.checkpoint = checkpoint
        self.on_epoch = on_epoch
        self.precision = choose_precision(config.precision, features.device)
        self.num_classes = model.num_classes
        self.steps_per_epoch = number_of_batches(len(train), config.batch_size)
        self.class_weights = self._class_weights().to(features.device)
        self.progress = Progress()
        self._best_weights: dict[str, Tensor] = {}
        self._finite: list[Tensor] = []
        self._fit_statistics()
        for balancer in self.balancers:
            balancer.setup(model, model.modalities)
        if config.compile:
            for branch in model.branches.values():
                branch.maps = torch.compile(branch.maps)  # type: ignore[arg-type,assignment]
        groups = parameter_groups(model, config, self.balancers)
        self.optimizer = Optimizer(groups, config, config.epochs * self.steps_per_epoch)
        self.average = WeightAverage(model, config.average)

    def fit(self) -> Progress:
        """Train to the end of the budget, or until validation has stopped improving."""
        self._resume()
        for record in self.progress.history:
            self._report(record)
        while self.progress.epoch < self.config.epochs and not self._out_of_patience():
            started = time.perf_counter()
            record = self._epoch(self.progress.epoch + 1)
            self.progress.seconds += time.perf_counter() - started
            record["seconds"] = round(time.perf_counter() - started, 3)
            self.progress.history.append(record)
            self._save()
            self._report(record)
        self.model.load_state_dict(self._best_weights)
        return self.progress

    # -- one epoch -------------------------------------------------------------------

    def _epoch(self, epoch: int) -> dict[str, Any]:
        # Everything random comes from (seed, epoch): a resumed training needs no more.
        sequence = np.random.SeedSequence([self.seed, epoch])
        torch_seed, order_seed = (int(s) for s in sequence.generate_state(2))
        torch.manual_seed(torch_seed)
        generator = torch.Generator().manual_seed(torch_seed)
        self.model.train()
        losses: list[Tensor] = []
        seen: list[tuple[Tensor, dict[str, Tensor]]] = []
        order = np.random.default_rng(order_seed)
        for indices in batches(self.train, self.config.batch_size, order):
            step = self._step(epoch, indices, generator)
            assert step.logits is not None and step.fused_loss is not None
            losses.append(step.fused_loss.detach())
            seen.append((step.labels, {"": step.logits.detach(), **_detached(step.unimodal)}))
        self._check_noted(epoch)
        loss = round(float(torch.stack(losses).mean()), 5)
        record: dict[str, Any] = {"epoch": epoch, "train_loss": loss}
        record |= self._train_metrics(seen)
        with self.average.applied():
            record |= self._validate()
            self._keep_best(record)
        for balancer in self.balancers:
            record |= balancer.metrics()
        self.progress.epoch = epoch
        for balancer in self.balancers:
            balancer.epoch_end(epoch, record)
        return record

    def _step(self, epoch: int, indices: Indices, generator: torch.Generator) -> Step:
        raw, labels = self.features.batch(indices)
        step = Step(epoch, self.config.epochs, self.progress.step, labels, self.model, generator)
        loss = self._forward(step, raw)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = Gradients(self._branch_gradients())
        for balancer in self.balancers:
            balancer.gradients(gradients, step)
        self.optimizer.step(self.progress.step, gradients)
        self.average.update(self.progress.step)
        self.progress.step += 1
        for balancer in self.balancers:
            balancer.step_end(step)
        return step

    def _branch_gradients(self) -> dict[str, list[Tensor]]:
        """By modality; one that gets no gradient (frozen, or not looked at) is left out."""
        found = {
            m: [p.grad for p in self.model.branches[m].parameters() if p.grad is not None]
            for m in self.model.modalities
        }
        return {m: tensors for m, tensors in found.items() if tensors}

    def _forward(self, step: Step, raw: Mapping[str, Tensor]) -> Tensor:
        """Fill in `step` and return the loss to differentiate."""
        model, config = self.model, self.config
        with torch.no_grad():
            inputs = model.standardised(raw)
            for m, modality in self.features.modalities.items():
                inputs[m] = augment(inputs[m], modality, config, step.generator)
        for balancer in self.balancers:
            inputs = balancer.inputs(inputs, step)
        step.inputs = inputs
        with self._autocast():
            encoded = model.encode(inputs)
            if model.strategy.takes == "embeddings":
                for balancer in self.balancers:
                    encoded.embeddings = balancer.embeddings(encoded.embeddings, step)
            step.embeddings = encoded.embeddings
            step.logits = model.fuse(encoded).float()
            step.unimodal = {m: p.float() for m, p in model.probe(encoded).items()}
        step.fused_loss = self._cross_entropy(step.logits, step.labels)
        step.unimodal_losses = {
            m: self._cross_entropy(logits, step.labels) for m, logits in step.unimodal.items()
        }
        loss = step.fused_loss
        for balancer in self.balancers:
            loss = balancer.loss(loss, step)
        self._check_finite(step, loss)
        return loss + sum(step.unimodal_losses.values())

    def _check_finite(self, step: Step, loss: Tensor) -> None:
        """On a CPU stop now; elsewhere a look would wait for the device, so note it for later."""
        with torch.no_grad():
            seen = (*step.embeddings.values(), loss)
            finite = torch.stack([torch.isfinite(t).all() for t in seen])  # (M + 1,)
        if self.features.device.type != "cpu":
            self._finite.append(finite)
        elif not finite.all():
            raise TrainingError(_explain(step, self.config))

    def _check_noted(self, epoch: int) -> None:
        """Stop at the first step of the epoch that was not finite, if there was one."""
        if not self._finite:
            return
        finite = torch.stack(self._finite).cpu()  # (steps, M + 1)
        self._finite.clear()
        bad = (~finite).any(dim=1).nonzero().flatten()
        if len(bad):
            first = int(bad[0])
            at = (epoch - 1) * self.steps_per_epoch + first
            names = [
                m for m, ok in zip(self.model.modalities, finite[first], strict=False) if not ok
            ]
            raise TrainingError(_not_finite(at, epoch, names, self.config))

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(
            logits, labels, weight=self.class_weights, label_smoothing=self.config.label_smoothing
        )

    def _autocast(self) -> contextlib.AbstractContextManager[object]:
        return autocast(self.features.device, self.precision)

    # -- what an epoch brought -------------------------------------------------------

    def _train_metrics(self, seen: list[tuple[Tensor, dict[str, Tensor]]]) -> dict[str, float]:
        """UAR on the training clips as they were seen: augmented, with dropout."""
        labels = torch.cat([labels for labels, _ in seen])
        return {
            _key("train_uar", name): self._uar(
                torch.cat([logits[name] for _, logits in seen]).softmax(1), labels
            )
            for name in seen[0][1]
        }

    def _validate(self) -> dict[str, float]:
        predictions = predict(self.model, self.features, self.val, self.precision)
        labels = self.features.targets[torch.from_numpy(self.val).to(self.features.device)]
        fused = torch.from_numpy(predictions.probabilities)
        loss = functional.nll_loss(fused.clamp_min(1e-12).log(), labels.cpu())
        record = {"val_uar": self._uar(fused, labels), "val_loss": round(float(loss), 5)}
        for m, probabilities in predictions.unimodal.items():
            record[_key("val_uar", m)] = self._uar(torch.from_numpy(probabilities), labels)
        for m, weights in predictions.weights.items():
            record[_key("weight", m)] = round(float(weights.mean()), 4)
        return record

    def _uar(self, scores: Tensor, labels: Tensor) -> float:
        said = scores.argmax(dim=1).cpu().numpy()
        return round(float(uar(confusion_matrix(labels.cpu().numpy(), said, self.num_classes))), 5)

    def _keep_best(self, record: Mapping[str, Any]) -> None:
        # A single epoch's score on a few speakers is mostly luck, and the highest of many the
        # luckiest: averaged over some epochs, it says more about speakers still to come.
        seen = [*(r["val_uar"] for r in self.progress.history), record["val_uar"]]
        recent = seen[-self.config.smooth :]
        score = sum(recent) / len(recent)
        if (score, -record["val_loss"]) > (self.progress.best_score, -self.progress.best_loss):
            self.progress.best_score = score
            self.progress.best_uar = record["val_uar"]
            self.progress.best_loss = record["val_loss"]
            self.progress.best_epoch = record["epoch"]
            self._best_weights = {k: v.detach().clone() for k, v in self.model.state_dict().items()}

    def _out_of_patience(self) -> bool:
        waited = self.progress.epoch - self.progress.best_epoch
        return 0 < self.config.patience <= waited

    def _report(self, record: Mapping[str, Any]) -> None:
        if self.on_epoch is not None:
            self.on_epoch(record)

    # -- preparation and state -------------------------------------------------------

    def _fit_statistics(self) -> None:
        if self.config.normalise == "none":
            return
        for m, modality in self.features.modalities.items():
            keep = kept_axes(modality, self.config.normalise)
            statistics = self.features.statistics(m, self.train, keep)
            standardise = self.model.standardise[m]
            standardise.set(  # type: ignore[operator]
                statistics.mean.to(self.features.device),
                statistics.deviation.to(self.features.device),
            )

    def _class_weights(self) -> Tensor:
        labels = self.features.targets.cpu()[torch.from_numpy(self.train)]
        counts = torch.bincount(labels, minlength=self.num_classes).clamp_min(1)
        power = {"none": 0.0, "sqrt": 0.5, "balanced": 1.0}[self.config.class_weights]
        return (counts.sum() / (self.num_classes * counts)) ** power

    def _save(self) -> None:
        if self.checkpoint is not None:
            save_checkpoint(
                self.checkpoint,
                self.progress,
                weights=self.model.state_dict(),
                best=self._best_weights,
                optimizer=self.optimizer.state_dict(),
                average=self.average.state_dict(),
                balancers=[b.state_dict() for b in self.balancers],
            )

    def _resume(self) -> None:
        if self.checkpoint is None or not self.checkpoint.exists():
            return
        state = load_checkpoint(self.checkpoint, self.features.device)
        self.progress = Progress(**state["progress"])
        self.model.load_state_dict(state["weights"])
        self._best_weights = state["best"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.average.load_state_dict(state["average"])
        for balancer, saved in zip(self.balancers, state["balancers"], strict=True):
            balancer.load_state_dict(saved)


def _detached(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach() for name, tensor in tensors.items()}


def _key(metric: str, modality: str) -> str:
    return f"{metric}.{modality}" if modality else metric


def _explain(step: Step, config: TrainConfig) -> str:
    """Say at which step, in which modality and probably why something is no longer finite."""
    for m, x in step.inputs.items():
        if not torch.isfinite(x).all():
            return (
                f"The loss was no longer finite at step {step.index} (epoch {step.epoch}): the "
                f"inputs of modality {m!r} hold NaN or infinite values after standardising. Its "
                "features are damaged, or a balancer damages them."
            )
    names = [m for m, z in step.embeddings.items() if not torch.isfinite(z).all()]
    return _not_finite(step.index, step.epoch, names, config)


def _not_finite(index: int, epoch: int, modalities: Sequence[str], config: TrainConfig) -> str:
    where = f"The loss was no longer finite at step {index} (epoch {epoch})"
    rate = f"a learning rate that is too high (train.lr={config.lr})"
    if modalities:
        return (
            f"{where}: the embedding of modality {modalities[0]!r} is not finite. Likely cause: "
            f"{rate}, or inputs on a very different scale (train.normalise={config.normalise})."
        )
    return (
        f"{where}: every embedding is finite, so the fusion strategy or a balancer's loss "
        f"overflows. Likely cause: {rate}."
    )
