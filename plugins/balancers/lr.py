"""Separate learning rates for branches, fusion head and probes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from ...core.contracts import Balancer, Context, LogUniform, ParameterGroup, Space, hookimpl
from ...core.contracts.errors import ParameterError, UnknownNameError


class LearningRates(Balancer):
    """Separate learning rates for the branches and the fusion head.

    ::

        rate of branch m      = scale * only[m] * train.lr      (branch instead of only[m]
                                                                 if m is not in only)
        rate of the head      = scale * head * train.lr
        rate of the probes    = scale * train.lr

    All rates are multiples of ``train.lr``, so the schedule and warm-up of the training still
    apply, and the factors of other balancers are multiplied with these rates. The default ratio of
    0.01 is usual for fine-tuning, for example 1e-5 for the branches and 1e-3 for the head.
    ``branch=1, scale=3`` is a control that papers often omit: plain training with three times the
    learning rate.

    Parameters
    ----------
    branch : float
        Factor of every branch, > 0. The default is common practice in fine-tuning.
    head : float
        Factor of the fusion head, > 0.
    only : tuple of str
        Factors of single branches that replace `branch`, as ``modality:factor``, e.g.
        ``mel:0.1,persistence:1``.
    scale : float
        Factor of every rate, probes included, > 0.

    When to use
    -----------
    With `pretrain`, or with branches that start from trained weights. With the default, branches
    that start untrained hardly learn: use ``branch=1`` for such branches.

    Cost
    ----
    None.

    References
    ----------
    Layer-wise rates for fine-tuning: Howard and Ruder (2018), "Universal Language Model Fine-tuning
    for Text Classification", ACL. Rates by modality: Yao and Mihalcea (2022), "Modality-specific
    Learning Rates for Effective Multimodal Additive Late-fusion", Findings of ACL.
    """

    name = "lr"
    space: ClassVar[Mapping[str, Space]] = {
        "branch": LogUniform(0.003, 1.0),
        "head": LogUniform(0.3, 3.0),
    }

    def __init__(
        self,
        *,
        branch: float = 0.01,
        head: float = 1.0,
        only: tuple[str, ...] = (),
        scale: float = 1.0,
    ) -> None:
        self.only = _factors(only)
        if not all(0 < factor < math.inf for factor in (branch, head, scale, *self.only.values())):
            raise ParameterError(
                "lr needs finite factors above 0; given "
                f"branch={branch}, head={head}, scale={scale}, only={','.join(only) or 'none'}."
            )
        self.branch = branch
        self.head = head
        self.scale = scale

    def setup(self, context: Context) -> None:
        for modality in self.only:
            if modality not in context.modalities:
                raise UnknownNameError(
                    "modality", modality, context.modalities, hint="It was named in lr.only."
                )

    def parameter_groups(self, groups: list[ParameterGroup]) -> list[ParameterGroup]:
        return [replace(g, lr=g.lr * self.scale * self._factor(g)) for g in groups]

    def _factor(self, group: ParameterGroup) -> float:
        if group.role == "branch":
            return self.only.get(group.modality or "", self.branch)
        return self.head if group.role == "head" else 1.0


def _factors(pairs: Sequence[str]) -> dict[str, float]:
    """Return the factor by modality, such as ``{"mel": 0.1}`` for ``["mel:0.1"]``."""
    factors: dict[str, float] = {}
    for pair in pairs:
        modality, colon, text = pair.strip().rpartition(":")
        try:
            factor = float(text)
        except ValueError:
            colon = ""
        if not colon or not modality:
            raise ParameterError(
                f"lr.only takes MODALITY:FACTOR, and was given {pair!r}.",
                hint="For example: --set lr.only=mel:0.1,persistence:1",
            )
        if modality in factors:
            raise ParameterError(f"lr.only names modality {modality!r} twice.")
        factors[modality] = factor
    return factors


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [LearningRates]
