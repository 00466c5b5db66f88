"""Diagnostics of a training: gradients and updates of every layer, embeddings and predictions.

Recording is cheap and does not wait for the device. In a few steps of each epoch, the norms of
gradients and of updates are stored on the device. The norms are read at the end of the epoch.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..contracts import Outputs
from .model import FusionModel

_SAMPLED_STEPS = 4  # steps recorded per epoch
_EVERY = 10  # layers are written at epochs 1, 2, 4, 8, ... and at multiples of _EVERY


class Recorder:
    """Recorder of the gradients and updates in the steps of one training.

    Parameters
    ----------
    model : FusionModel
        Model whose branches and strategy are recorded; its probes are not.
    steps_per_epoch : int
        Number of steps of an epoch; a few of them, evenly spaced, are recorded.
    """

    def __init__(self, model: FusionModel, steps_per_epoch: int) -> None:
        self.owners: list[str] = []  # owner of each layer: a modality, or "" for the strategy
        self.layers: list[str] = []
        self._parameters: list[Tensor] = []
        layer_of: list[int] = []
        for owner, module in [*model.branches.items(), ("", model.strategy)]:
            for name, parameters in layers_of(module):
                layer_of += [len(self.layers)] * len(parameters)
                self._parameters += parameters
                self.owners.append(owner)
                self.layers.append(name)
        count = min(_SAMPLED_STEPS, steps_per_epoch)
        self._sampled = {(2 * i + 1) * steps_per_epoch // (2 * count) for i in range(count)}
        self._period = steps_per_epoch
        self._layer_of = torch.tensor(layer_of)
        self._sums: list[Tensor] = []

    @contextlib.contextmanager
    def step(self, index: int) -> Iterator[None]:
        """Record step `index`: a context around the optimiser's step, when gradients are final."""
        if index % self._period not in self._sampled or not self._parameters:
            yield
            return
        with torch.no_grad():
            zero = self._parameters[0].new_zeros(())
            gradients = [zero if p.grad is None else p.grad for p in self._parameters]
            gradient = _norms(gradients)
            before = [p.detach().clone() for p in self._parameters]
        yield
        with torch.no_grad():
            change = _norms(torch._foreach_sub(self._parameters, before))
            self._sums.append(torch.stack([gradient, change, _norms(before)]).square())

    def epoch(self, epoch: int, last: bool) -> dict[str, Any]:
        """Return ``gradient.m``, ``update.m`` and ``layers`` over the steps since the last call.

        ``layers`` is included only at some epochs and if `last` is True.
        """
        if not self._sums:
            return {}
        # (samples, 3, parameters) squared norms -> (samples, 3, layers)
        squares = torch.stack(self._sums).double().cpu()
        self._sums.clear()
        by_layer = squares.new_zeros(*squares.shape[:2], len(self.layers))
        by_layer.index_add_(2, self._layer_of, squares)
        record: dict[str, Any] = {}
        layers: dict[str, dict[str, list[float]]] = {}
        for owner in dict.fromkeys(self.owners):
            own = torch.tensor([o == owner for o in self.owners])
            gradient, update = _sizes(by_layer[:, :, own].sum(dim=2, keepdim=True))
            record[_key("gradient", owner)] = gradient[0]
            record[_key("update", owner)] = update[0]
            names = [n for n, o in zip(self.layers, self.owners, strict=True) if o == owner]
            sizes = zip(*_sizes(by_layer[:, :, own]), strict=True)
            layers[owner] = {n: list(pair) for n, pair in zip(names, sizes, strict=True)}
        if last or epoch % _EVERY == 0 or epoch & (epoch - 1) == 0:
            record["layers"] = layers
        return record


def layers_of(module: nn.Module) -> list[tuple[str, list[nn.Parameter]]]:
    """Return the name of each submodule with the parameters that it holds itself, if any."""
    parts = (
        (name or type(part).__name__, list(part.parameters(recurse=False)))
        for name, part in module.named_modules()
    )
    return [(name, own) for name, own in parts if own]


def _norms(tensors: Sequence[Tensor]) -> Tensor:
    """Return the Euclidean norm of each tensor, (parameters,) float32."""
    return torch.stack([n.float() for n in torch._foreach_norm(list(tensors))])


def _sizes(squares: Tensor) -> tuple[list[float], list[float]]:
    """Return the gradient norms and the relative updates of n layers.

    `squares`, (samples, 3, n), holds squared norms of gradient, update and weights. The gradient
    is the root mean square over the samples, and the relative update |update| / |weights| is
    the mean over the samples.
    """
    gradient = squares[:, 0].mean(dim=0).sqrt()
    update = (squares[:, 1] / squares[:, 2].clamp_min(1e-30)).sqrt().mean(dim=0)
    return [_short(x) for x in gradient.tolist()], [_short(x) for x in update.tolist()]


@torch.no_grad()
def validation_record(out: Outputs) -> dict[str, float]:
    """Return diagnostics of the outputs on validation clips, besides scores such as UAR.

    ``entropy`` is the mean entropy of the predictions in nats, and ``entropy.m`` the mean entropy
    of the probe of modality m. ``val_loss.m`` is the cross-entropy of the probe. ``norm.m``,
    ``spread.m`` and ``rank.m`` describe the embeddings (:func:`embedding_sizes`). ``agreement`` is
    the share of clips for which two probes predict the same class, averaged over pairs of probes.
    """
    record = {"entropy": _entropy(out.logits.cpu())}
    probes = {m: scores.cpu() for m, scores in out.unimodal.items()}
    for m, scores in out.unimodal.items():
        own, labels = out.rows(m, scores).cpu(), out.rows(m, out.labels).cpu()
        record[f"entropy.{m}"] = _entropy(own)
        record[f"val_loss.{m}"] = float(functional.cross_entropy(own, labels))
    for m, embeddings in out.embeddings.items():
        sizes = embedding_sizes(out.rows(m, embeddings).cpu())
        record |= {f"{k}.{m}": v for k, v in sizes.items()}
    whole = torch.ones(len(out.labels), dtype=torch.bool)
    for flags in out.present.values():
        whole &= flags.cpu()
    if len(probes) > 1 and whole.any():
        predicted = [scores[whole].argmax(dim=1) for scores in probes.values()]
        agreements = [(a == b).double().mean() for a, b in combinations(predicted, 2)]
        record["agreement"] = float(torch.stack(agreements).mean())
    return {k: _short(v) for k, v in record.items()}


def embedding_sizes(embeddings: Tensor) -> dict[str, float]:
    """Return mean norm, spread around the mean, and effective rank of embeddings (n, D).

    The effective rank is exp(H(p)), where p are the singular values of the centred embeddings
    divided by their sum (Roy and Vetterli 2007, "The effective rank: a measure of effective
    dimensionality", EUSIPCO). The effective rank is 1 if all embeddings are on a line, D if all
    directions have the same variance, and 0 if all embeddings are equal.
    """
    z = embeddings.double()
    centred = z - z.mean(dim=0)
    spread = float(centred.square().sum(dim=1).mean().sqrt())
    norm = float(z.norm(dim=1).mean())
    if not math.isfinite(norm) or spread <= 1e-7 * max(norm, 1e-30):
        return {"norm": norm, "spread": spread if math.isfinite(norm) else math.nan, "rank": 0.0}
    values = torch.linalg.eigvalsh(centred.T @ centred).clamp_min(0).sqrt()
    p = values / values.sum()
    rank = float(torch.exp(torch.special.entr(p).sum()))
    return {"norm": norm, "spread": spread, "rank": rank}


def _entropy(logits: Tensor) -> float:
    return float(torch.special.entr(logits.double().softmax(dim=1)).sum(dim=1).mean())


def _short(value: float) -> float:
    """Round to five significant digits, which makes the records of the epochs easier to read."""
    return float(f"{value:.5g}")


def _key(metric: str, owner: str) -> str:
    return f"{metric}.{owner}" if owner else metric
