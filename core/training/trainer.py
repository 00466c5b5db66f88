"""Training loop of baselines and fused models."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..contracts import Balancer, Baseline, Clips, Stage
from ..contracts.model import Presence
from ..contracts.train_config import TrainConfig
from ..data.features import Features, Indices, batches, kept_axes
from ..registry.trace import clock_outside
from ..toolkit.metrics import confusion_matrix, uar
from . import return_checks
from .averaging import WeightAverage
from .baselines import adopt
from .checkpoint import load_checkpoint, save_checkpoint
from .context import TrainingContext
from .hardware import distributed
from .inference import calibrate, outputs_and_weights
from .model import FusionModel
from .optim import Optimizer, parameter_groups
from .recorder import Recorder, validation_record
from .step import Stepper

_WINDOWS = 1  # distinguishes the random numbers for windows from those for the order of clips


@dataclass
class Progress:
    """Progress of a training: the plain values of its checkpoint.

    `step` counts batches, and `updates` counts optimiser steps; a batch may have several.
    `best_score` is the score by which the best epoch was chosen (a mean over epochs), and
    `best_uar` is the validation UAR of the best epoch alone. `start` is the validation record of
    epoch 0, before the first step of a model that starts from the baselines. Epoch 0 may be the
    best epoch.
    """

    epoch: int = 0
    step: int = 0
    updates: int = 0
    best_epoch: int = 0
    best_score: float = -1.0
    best_loss: float = math.inf
    best_uar: float = 0.0
    seconds: float = 0.0
    start: dict[str, Any] | None = None
    history: list[dict[str, Any]] = field(default_factory=list)


class Trainer:
    """Training of one model on one split; after :meth:`fit` the model has its best weights.

    The weights are those of the epoch with the highest validation UAR, averaged over the last
    ``train.smooth`` epochs. Of epochs with the same averaged UAR, the epoch with the lowest
    validation loss is the best. A model that starts from the baselines is
    also validated before its first step, as epoch 0. The trainer never uses the test part.

    Parameters
    ----------
    model : FusionModel
        The model, on the features' device.
    features : Features
        Features of the clips.
    train, val : array of int64
        Indices of the training and validation clips.
    config : TrainConfig
        Budget and settings.
    balancers : sequence of Balancer
        Balancers, called in this order.
    baselines : mapping of str to Baseline
        The single-modality baselines, for strategies and balancers that need them.
    from_baselines : bool
        Whether every branch starts with its baseline's weights, whatever the strategy. The
        branches' learning rate is then multiplied by ``train.branch_rate``.
    seed : int
        Seed for the order of clips, their windows, masks and dropout.
    checkpoint : Path, optional
        File for the state after each epoch. A training whose checkpoint exists resumes from it,
        with the same result as a training without interruption.
    on_epoch : callable, optional
        Function that receives the metrics of each epoch. A resumed training first passes the
        metrics of the earlier epochs.

    Raises
    ------
    TrainingError
        If a loss is no longer finite.
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
        baselines: Mapping[str, Baseline] | None = None,
        from_baselines: bool = False,
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
        self.num_classes = model.num_classes
        self.progress = Progress()
        self._best_weights: dict[str, Tensor] = {}
        held_out = model.strategy.held_out_parameters()
        ids = {id(p) for p in held_out}
        self._trainable = [p for p in model.parameters() if p.requires_grad and id(p) not in ids]
        for parameter in held_out:
            parameter.requires_grad_(False)
        self._fit_statistics()
        if distributed.launched():
            model.share()
        parts = {"train": train, "val": val}
        self.context = TrainingContext(model, config, features, parts, baselines)
        self.precision = self.context.precision
        adopt(model, self.context.baselines, everywhere=from_baselines)
        self._has_start = from_baselines or model.strategy.needs_baselines
        for balancer in self.balancers:
            balancer.setup(self.context)
        if config.compile:
            for branch in model.branches.values():
                branch.maps = clock_outside(torch.compile, branch.maps)
        branch_rate = config.branch_rate if from_baselines else 1.0
        groups = parameter_groups(model, config, self.balancers, branch_rate=branch_rate)
        steps = config.epochs * self.context.steps_per_epoch
        self.optimizer = Optimizer(groups, config, steps)
        self.average = WeightAverage(model, config.average, held_out)
        self.recorder = Recorder(model, self.context.steps_per_epoch)
        self.stepper = Stepper(
            self.context, features, self.balancers, self.optimizer, self.average, self.recorder
        )

    def fit(self) -> Progress:
        """Train until the budget is used or validation has stopped improving."""
        self._resume()
        if self._has_start and self.progress.epoch == 0 and self.progress.start is None:
            self._compete_at_start()
        for record in self.progress.history:
            self._report(record)
        while self.progress.epoch < self.config.epochs and not self._out_of_patience():
            if distributed.launched():
                distributed.broadcast_weights(self.model)
            started = time.perf_counter()
            record = self._epoch(self.progress.epoch + 1)
            self.progress.seconds += time.perf_counter() - started
            record["seconds"] = round(time.perf_counter() - started, 3)
            self.progress.history.append(record)
            self._save()
            self._report(record)
        self.model.load_state_dict(self._best_weights)
        return self.progress

    def _compete_at_start(self) -> None:
        """Validate the initial model as epoch 0, which may be the best epoch."""
        started = time.perf_counter()
        record = {"epoch": 0, **self._validate()}
        self._keep_best(record)
        self.progress.seconds += time.perf_counter() - started
        self.progress.start = record
        self._save()

    # -- one epoch -------------------------------------------------------------------

    def _epoch(self, epoch: int) -> dict[str, Any]:
        # All random numbers depend on (seed, epoch) alone, so a checkpoint needs no random state.
        sequence = np.random.SeedSequence([self.seed, epoch])
        torch_seed, order_seed = (int(s) for s in sequence.generate_state(2))
        torch.manual_seed(torch_seed)
        generator = torch.Generator().manual_seed(torch_seed)
        stage = self._enter(self._stage(epoch))
        for balancer in self.balancers:
            balancer.epoch_start(epoch)
        losses: list[Tensor] = []
        batch_scores: list[BatchScores] = []
        batches = self._batches(epoch, np.random.default_rng(order_seed))
        for clips, rows in self._prefetched(self._with_windows(epoch, batches)):
            step = self.stepper.step(epoch, self.progress.step, clips, generator, rows)
            self.progress.step += 1
            self.progress.updates += step.passes
            assert step.logits is not None and step.fused_loss is not None
            losses.append(step.fused_loss.detach())
            scores = {"": step.logits.detach(), **_detached(step.unimodal)}
            batch_scores.append((step.labels, scores, step.presence))
        self.stepper.finite.epoch(epoch, self.model.modalities)
        loss = round(float(torch.stack(losses).mean()), 5)
        record: dict[str, Any] = {"epoch": epoch, "train_loss": loss}
        record |= self._train_metrics(batch_scores)
        if stage != Stage(""):
            record |= {"stage": stage.name, "candidate": stage.candidate}
        record |= self.recorder.epoch(epoch, last=epoch == self.config.epochs)
        with self.average.applied():
            record |= self._validate()
            self._keep_best(record)
        for balancer in self.balancers:
            record |= return_checks.numbers(balancer, "metrics", balancer.metrics())
        self.progress.epoch = epoch
        for balancer in self.balancers:
            balancer.epoch_end(epoch, record)
        self.context.changed()
        return record

    def _stage(self, epoch: int) -> Stage:
        answers = ((b, b.stage(epoch)) for b in self.balancers)
        stages = [return_checks.instance(b, "stage", s, Stage) for b, s in answers if s is not None]
        stage = stages[0] if stages else Stage("")
        # The last epoch is always a candidate, so that there is a best epoch.
        return replace(stage, candidate=True) if epoch == self.config.epochs else stage

    def _enter(self, stage: Stage) -> Stage:
        """Put the model in training mode, except the parts that this stage freezes."""
        for parameter in self._trainable:
            parameter.requires_grad_(True)
        self.model.train()
        frozen = [
            branch
            for m, branch in self.model.branches.items()
            if stage.branches is not None and m not in stage.branches
        ]
        for module in [*frozen, *([] if stage.head else [self.model.strategy])]:
            module.requires_grad_(False).eval()
        return stage

    def _batches(self, epoch: int, rng: np.random.Generator) -> Iterator[Clips]:
        """Yield the shuffled batches of an epoch, with at most as many clips as `train` has."""
        clips = Clips(self.train)
        for balancer in self.balancers:
            clips = return_checks.clips(
                balancer, "clips", balancer.clips(clips, epoch), len(self.model.modalities)
            )
        rows = np.arange(len(clips.indices))
        if len(rows) > len(self.train):
            rows = np.sort(rng.choice(rows, size=len(self.train), replace=False))
        for chosen in batches(rows, self.config.batch_size, rng):
            present = None if clips.present is None else clips.present[chosen]
            yield Clips(clips.indices[chosen], present)

    def _with_windows(self, epoch: int, batches: Iterator[Clips]) -> Iterator[Batch]:
        """Yield `batches` with a random window of each clip; None if no clip has windows."""
        rng = np.random.default_rng([self.seed, epoch, _WINDOWS])
        for clips in batches:
            yield clips, self.features.random_rows(clips.indices, rng)

    def _prefetched(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Yield `batches`, and load the next batch while the current one is computed."""
        batch = next(batches, None)
        while batch is not None:
            following = next(batches, None)
            if following is not None:
                clips, rows = following
                self.features.prefetch(clips.indices, rows)
            yield batch
            batch = following

    # -- metrics and the best epoch --------------------------------------------------

    def _train_metrics(self, batch_scores: list[BatchScores]) -> dict[str, float]:
        """Return UAR and the probes' losses on training clips, with augmentation and dropout."""
        record: dict[str, float] = {}
        for name in batch_scores[0][1]:
            # The metrics of a modality use only the clips that have the modality.
            rows = [None if p is None else p.rows.get(name) for _, _, p in batch_scores]
            pairs = list(zip(batch_scores, rows, strict=True))
            labels = torch.cat([_at(y, r) for (y, _, _), r in pairs])
            scores = torch.cat([_at(s[name], r) for (_, s, _), r in pairs])
            record[_key("train_uar", name)] = self._uar(scores.softmax(1), labels)
            if name:  # the loss of the fused scores is in the record already
                loss = float(functional.cross_entropy(scores, labels))
                record[_key("train_loss", name)] = round(loss, 5)
        return record

    def _validate(self) -> dict[str, float]:
        calibrate(self.model, self.features, self.val, self.precision)
        out, weights = outputs_and_weights(self.model, self.features, self.val, self.precision)
        fused, labels = out.logits.softmax(dim=1).cpu(), out.labels.cpu()
        loss = functional.nll_loss(fused.clamp_min(1e-12).log(), labels)
        record = {"val_uar": self._uar(fused, labels), "val_loss": round(float(loss), 5)}
        for m, scores in out.unimodal.items():
            own = out.rows(m, scores).softmax(dim=1)
            record[_key("val_uar", m)] = self._uar(own, out.rows(m, out.labels))
        if weights is not None:
            means = weights.mean(dim=0).tolist()  # (n, M) -> (M,)
            for m, mean in zip(self.model.modalities, means, strict=True):
                record[_key("weight", m)] = round(mean, 4)
        return record | validation_record(out)

    def _uar(self, scores: Tensor, labels: Tensor) -> float:
        predicted = scores.argmax(dim=1).cpu().numpy()
        matrix = confusion_matrix(labels.cpu().numpy(), predicted, self.num_classes)
        return round(float(uar(matrix)), 5)

    def _keep_best(self, record: Mapping[str, Any]) -> None:
        # A single epoch's score on a few speakers depends mostly on chance, and the highest of
        # many scores is biased upwards. A mean over epochs predicts scores on new speakers better.
        if not record.get("candidate", True):
            return
        # The history starts at epoch 1, so epoch 0 does not enter the means of later epochs.
        candidates = [r for r in self.progress.history if r.get("candidate", True)]
        uars = [*(r["val_uar"] for r in candidates), record["val_uar"]]
        recent = uars[-self.config.smooth :]
        score = sum(recent) / len(recent)
        better = (score, -record["val_loss"]) > (
            self.progress.best_score,
            -self.progress.best_loss,
        )
        if distributed.from_first_process(better):
            self.progress.best_score = score
            self.progress.best_uar = record["val_uar"]
            self.progress.best_loss = record["val_loss"]
            self.progress.best_epoch = record["epoch"]
            self._best_weights = {k: v.detach().clone() for k, v in self.model.state_dict().items()}

    def _out_of_patience(self) -> bool:
        history = self.progress.history
        excluded = [int(r["epoch"]) for r in history if not r.get("candidate", True)]
        waited = self.progress.epoch - max([self.progress.best_epoch, *excluded])
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

    def _save(self) -> None:
        if self.checkpoint is not None and distributed.leads():
            save_checkpoint(
                self.checkpoint,
                self.progress,
                weights=self.model.state_dict(),
                best=self._best_weights,
                optimizer=self.optimizer.state_dict(),
                average=self.average.state_dict(),
                balancers=[
                    return_checks.instance(b, "state_dict", b.state_dict(), dict)
                    for b in self.balancers
                ],
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
        self.context.changed()  # in setup, a balancer may have read outputs of the old weights
        for balancer, saved in zip(self.balancers, state["balancers"], strict=True):
            balancer.load_state_dict(saved)


Batch = tuple[Clips, Indices | None]
"""Clips of a step, and the row of the window to read for each clip."""

BatchScores = tuple[Tensor, dict[str, Tensor], Presence | None]
"""Labels of a batch, class scores by modality ("" for the fused scores), and its presence."""


def _at(x: Tensor, rows: Tensor | None) -> Tensor:
    return x if rows is None else x[rows]


def _detached(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach() for name, tensor in tensors.items()}


def _key(metric: str, modality: str) -> str:
    return f"{metric}.{modality}" if modality else metric
