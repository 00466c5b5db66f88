"""What a training shows of itself: gradients and steps of every layer, embeddings, predictions.

Little is looked at, and nothing is waited for: on a few steps of an epoch the norms of gradients
and of changes are added up on the device, and read once at its end.
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

_LOOKS = 4  # steps of an epoch that are looked at
_EVERY = 10  # layers are written at epochs 1, 2, 4, 8, ... and at multiples of this


class Recorder:
    """Watches the steps of one training.

    Parameters
    ----------
    model : FusionModel
        Its branches and its strategy are watched; probes are not.
    steps_per_epoch : int
        Which of them are looked at follows from it: a few, evenly spaced.
    """

    def __init__(self, model: FusionModel, steps_per_epoch: int) -> None:
        self.owners: list[str] = []  # of each layer: a modality, or "" for the strategy
        self.layers: list[str] = []
        self._parameters: list[Tensor] = []
        layer_of: list[int] = []
        for owner, module in [*model.branches.items(), ("", model.strategy)]:
            for name, parameters in layers_of(module):
                layer_of += [len(self.layers)] * len(parameters)
                self._parameters += parameters
                self.owners.append(owner)
                self.layers.append(name)
        looks = min(_LOOKS, steps_per_epoch)
        self._looked = {(2 * i + 1) * steps_per_epoch // (2 * looks) for i in range(looks)}
        self._period = steps_per_epoch
        self._layer_of = torch.tensor(layer_of)
        self._sums: list[Tensor] = []

    @contextlib.contextmanager
    def step(self, index: int) -> Iterator[None]:
        """Around step `index` of the optimiser, when every gradient is what it will take."""
        if index % self._period not in self._looked or not self._parameters:
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
        """What the steps since the last call were like: ``gradient.m``, ``update.m``, layers."""
        if not self._sums:
            return {}
        # (looks, 3, parameters) squared norms -> (looks, 3, layers)
        seen = torch.stack(self._sums).double().cpu()
        self._sums.clear()
        by_layer = seen.new_zeros(*seen.shape[:2], len(self.layers))
        by_layer.index_add_(2, self._layer_of, seen)
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
    """The parameters that each part of a network holds itself, by its name."""
    parts = (
        (name or type(part).__name__, list(part.parameters(recurse=False)))
        for name, part in module.named_modules()
    )
    return [(name, own) for name, own in parts if own]


def _norms(tensors: Sequence[Tensor]) -> Tensor:
    """(parameters,) float32."""
    return torch.stack([n.float() for n in torch._foreach_norm(list(tensors))])


def _sizes(squares: Tensor) -> tuple[list[float], list[float]]:
    """(looks, 3, n) squared norms of gradient, change, weights -> gradient, change / weights.

    The gradient is the root of the mean square over the looks, the change the mean.
    """
    gradient = squares[:, 0].mean(dim=0).sqrt()
    update = (squares[:, 1] / squares[:, 2].clamp_min(1e-30)).sqrt().mean(dim=0)
    return [_short(x) for x in gradient.tolist()], [_short(x) for x in update.tolist()]


@torch.no_grad()
def validation_record(said: Outputs) -> dict[str, float]:
    """What the outputs on validation show beside how often they are right.

    ``entropy`` of the predictions in nats, ``val_loss.m`` of the probes, ``norm.m``, ``spread.m``
    and ``rank.m`` of the embeddings, ``agreement`` of the probes.
    """
    record = {"entropy": _entropy(said.logits.cpu())}
    probes = {m: scores.cpu() for m, scores in said.unimodal.items()}
    for m, scores in said.unimodal.items():
        own, labels = said.rows(m, scores).cpu(), said.rows(m, said.labels).cpu()
        record[f"entropy.{m}"] = _entropy(own)
        record[f"val_loss.{m}"] = float(functional.cross_entropy(own, labels))
    for m, embeddings in said.embeddings.items():
        sizes = embedding_sizes(said.rows(m, embeddings).cpu())
        record |= {f"{k}.{m}": v for k, v in sizes.items()}
    whole = torch.ones(len(said.labels), dtype=torch.bool)
    for flags in said.present.values():
        whole &= flags.cpu()
    if len(probes) > 1 and whole.any():
        answers = [scores[whole].argmax(dim=1) for scores in probes.values()]
        same = [(a == b).double().mean() for a, b in combinations(answers, 2)]
        record["agreement"] = float(torch.stack(same).mean())
    return {k: _short(v) for k, v in record.items()}


def embedding_sizes(embeddings: Tensor) -> dict[str, float]:
    """Mean norm, spread around the mean, and effective rank of embeddings (n, D).

    The effective rank is exp(H(p)), p the singular values of the centred embeddings over their
    sum: 1 when all lie on a line, D when they fill every direction alike (Roy and Vetterli 2007,
    "The effective rank: a measure of effective dimensionality", EUSIPCO). 0 without any spread.
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
    """Five significant digits: what is written at every epoch is read by people too."""
    return float(f"{value:.5g}")


def _key(metric: str, owner: str) -> str:
    return f"{metric}.{owner}" if owner else metric
