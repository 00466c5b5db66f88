"""Multi-task aggregators of torchjd, which combine the gradients of several losses."""

from __future__ import annotations

import contextlib
import importlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from ...core.contracts import Balancer, Context, Gradients, Space, Step, Uniform, hookimpl
from ...core.contracts.errors import ParameterError
from ...core.contracts.training import Domain
from ._unimodal import unimodal_losses

Method = Literal[
    "upgrad", "dualproj", "pcgrad", "mgda", "alignedmtl", "imtlg", "config", "cagrad", "nashmtl"
]

_CLASSES: Mapping[str, str] = {
    "upgrad": "UPGrad",
    "dualproj": "DualProj",
    "pcgrad": "PCGrad",
    "mgda": "MGDA",
    "alignedmtl": "AlignedMTL",
    "imtlg": "IMTLG",
    "config": "ConFIG",
    "cagrad": "CAGrad",
    "nashmtl": "NashMTL",
}

# The result of these methods has the scale of the mean of the losses, not of the sum.
_MEANS = ("upgrad", "dualproj", "mgda", "alignedmtl", "imtlg", "cagrad")
_CONVEX = ("cagrad", "nashmtl")  # solve a convex problem with cvxpy in every step


class Aggregate(Balancer):
    """Multi-task aggregation of the gradients of the fused and the single-modality losses.

    ::

        J   = gradients of l(f), l(f_1) .. l(f_M) with respect to all branches, as rows: (1 + M, P)
        g  <- A(J),  or (1 + M) A(J) if A averages the losses instead of summing them

    Every branch m learns from l(f) and from l(f_m). P is the number of parameters of all branches
    together. The row of l(f_m) is zero outside branch m. If the gradients do not conflict, the
    factor 1 + M makes the result of every method about equal to the sum of the rows, which is the
    balancer `unimodal_loss`. A is one of these methods:

    - upgrad: the mean of the rows, after each row is projected onto the vectors that conflict with
      no row
    - dualproj: the mean of the rows is projected onto the vectors that conflict with no row
    - pcgrad: from each row, the components against conflicting rows are removed one by one, in
      random order
    - mgda: the shortest vector in the convex hull of the rows
    - alignedmtl: the rows are rotated and scaled until they are orthogonal and equally long
    - imtlg: the vector with equal projections on all rows
    - config: the vector with equal angles to all rows; its length is the sum of its projections on
      the rows
    - cagrad: a vector near the mean that maximises the smallest improvement of any row
    - nashmtl: the Nash bargaining solution, a vector of length at most 1: no change of this vector
      improves some losses by a larger relative amount than it worsens the other losses

    Losses that other balancers add are further rows of J. Earlier changes that other balancers made
    to the gradient are kept. The head learns from the fused loss alone.

    The methods are those of the library torchjd in its default settings. Adam cancels the overall
    size of a gradient, so the factor 1 + M matters for SGD only. PCGrad's random order is drawn
    from the random generator of the step, so a resumed training continues identically. With a
    single modality, this balancer changes nothing: no loss is added.

    Parameters
    ----------
    method : {"upgrad", "dualproj", "pcgrad", "mgda", "alignedmtl", "imtlg", "config", \
"cagrad", "nashmtl"}
        The aggregator. The authors of torchjd introduced and recommend upgrad.
    c : float
        Radius of cagrad around the mean, as a share of the length of the mean, >= 0; with 0 the
        result is the mean. The paper of cagrad uses 0.4.

    When to use
    -----------
    To find out whether conflicts between the losses hurt the model. If the gradients agree, the
    cheaper `unimodal_loss` does the same. mgda stops as soon as one loss is at its minimum.

    Cost
    ----
    One more backward pass per modality, 1 + M copies of the branches' gradients, and a small
    problem solved on the CPU in each step: 1 ms, or 5 to 20 ms with cagrad, nashmtl and config.

    References
    ----------
    upgrad and torchjd: Quinton and Rey (2024), "Jacobian Descent for Multi-Objective Optimization",
    arXiv 2406.16232. dualproj: Lopez-Paz and Ranzato (2017), "Gradient Episodic Memory for
    Continual Learning", NeurIPS. pcgrad: Yu et al. (2020), "Gradient Surgery for Multi-Task
    Learning", NeurIPS. mgda: Desideri (2012), "Multiple-Gradient Descent Algorithm (MGDA) for
    Multiobjective Optimization", Comptes Rendus Mathematique; Sener and Koltun (2018), "Multi-Task
    Learning as Multi-Objective Optimization", NeurIPS. alignedmtl: Senushkin et al. (2023),
    "Independent Component Alignment for Multi-Task Learning", CVPR. imtlg: Liu et al. (2021),
    "Towards Impartial Multi-Task Learning", ICLR. config: Liu, Chu and Thuerey (2025), "ConFIG:
    Towards Conflict-free Training of Physics Informed Neural Networks", ICLR. cagrad: Liu et al.
    (2021), "Conflict-Averse Gradient Descent for Multi-Task Learning", NeurIPS. nashmtl: Navon et
    al. (2022), "Multi-Task Learning as a Bargaining Game", ICML.
    """

    name = "aggregate"
    space: ClassVar[Mapping[str, Space]] = {"c": Uniform(0.1, 0.9)}
    takes_over: ClassVar[tuple[Domain, ...]] = ("unimodal_losses", "gradients")
    separate: ClassVar[bool] = True

    def __init__(self, *, method: Method = "upgrad", c: float = 0.4) -> None:
        if method not in _CLASSES:
            raise ParameterError(
                f"aggregate.method must be one of {', '.join(_CLASSES)}, and is {method!r}."
            )
        if c < 0:
            raise ParameterError(f"aggregate.c must be 0 or more, and is {c}.")
        self.method = method
        self.c = c
        self._aggregators: dict[int, Any] = {}  # by the number of losses
        self._bargains: dict[int, list[float]] = {}  # nashmtl: start of the next search

    def setup(self, context: Context) -> None:
        self._aggregators.clear()
        self._bargains.clear()
        self._aggregator(1 + len(context.modalities))  # raises if a package is missing

    def losses(self, losses: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        if len(step.modalities) < 2:
            return losses
        return losses | unimodal_losses(step, 1.0)

    def gradients(self, gradients: Gradients, step: Step) -> None:
        if len(gradients.losses) < 2 or not gradients.modalities:
            return
        jacobian = torch.stack([_row(gradients, loss) for loss in gradients.losses])  # (L, P)
        aggregated = self.aggregate(jacobian, step)  # (P,)
        tensors = [g for m in gradients.modalities for g in gradients[m]]
        sizes = [g.numel() for g in tensors]
        change = torch.split(aggregated - jacobian.sum(dim=0), sizes)
        # Added as a change, so that the contributions of other balancers are kept.
        torch._foreach_add_(tensors, [c.view_as(g) for c, g in zip(change, tensors, strict=True)])

    def aggregate(self, jacobian: Tensor, step: Step) -> Tensor:
        """Combine the gradients of the losses, (L, P), into one gradient, (P,)."""
        count = len(jacobian)
        aggregator = self._aggregator(count)
        with self._random_order(step), self._quietly():
            result: Tensor = aggregator(jacobian)
        if self.method == "nashmtl":
            self._bargains[count] = [float(a) for a in aggregator.weighting.prvs_alpha]
        return result * count if self.method in _MEANS else result

    @contextlib.contextmanager
    def _random_order(self, step: Step) -> Iterator[None]:
        """Seed the global generator, which torchjd uses for pcgrad, with the step's generator."""
        if self.method != "pcgrad":
            yield
            return
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (1,), generator=step.generator)))
            yield

    @contextlib.contextmanager
    def _quietly(self) -> Iterator[None]:
        """Silence cvxpy's warning, in every nashmtl training, that the problem is not a DPP."""
        with warnings.catch_warnings():
            if self.method == "nashmtl":
                warnings.simplefilter("ignore", UserWarning)
            yield

    def _aggregator(self, losses: int) -> Any:
        if losses not in self._aggregators:
            self._aggregators[losses] = self._new_aggregator(losses)
        return self._aggregators[losses]

    def _new_aggregator(self, losses: int) -> Any:
        arguments: dict[str, Any] = {}
        if self.method == "nashmtl":
            arguments["n_tasks"] = losses
        elif self.method == "cagrad":
            arguments["c"] = self.c
        try:
            library = importlib.import_module("torchjd.aggregation")
            aggregator = getattr(library, _CLASSES[self.method])(**arguments)
        except ImportError as error:
            raise _not_installed(self.method) from error
        if losses in self._bargains:
            aggregator.weighting.prvs_alpha = np.array(self._bargains[losses])
        return aggregator

    def state_dict(self) -> dict[str, Any]:
        return {"bargains": {str(losses): a for losses, a in self._bargains.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._bargains = {int(losses): list(a) for losses, a in state["bargains"].items()}
        self._aggregators.clear()


def _row(gradients: Gradients, loss: str) -> Tensor:
    """Return the gradient of one loss over all branches, (P,)."""
    parts: Sequence[Tensor] = [g for m in gradients.modalities for g in gradients.part(loss, m)]
    return torch.cat([g.flatten() for g in parts])


def _not_installed(method: str) -> ParameterError:
    extras, packages = ("aggregate,cvxpy", "torchjd, cvxpy and ecos") if method in _CONVEX else (
        "aggregate", "torchjd and quadprog")  # fmt: skip
    return ParameterError(
        f"aggregate.method={method} needs {packages}, and at least one of these packages is not "
        "installed.",
        hint=f"pip install 'modal-fusion[{extras}]'",
    )


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [Aggregate]
