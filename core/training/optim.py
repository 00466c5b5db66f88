"""Parameter groups, the optimiser and its learning-rate schedule."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from ..contracts import Balancer, Gradients, ParameterGroup
from ..contracts.train_config import TrainConfig
from . import return_checks
from .model import FusionModel


def parameter_groups(
    model: FusionModel,
    config: TrainConfig,
    balancers: Sequence[Balancer],
    *,
    branch_rate: float = 1.0,
) -> list[ParameterGroup]:
    """Return one parameter group per branch, one for the head and one per probe.

    The balancers may change the groups. The learning rate of the branches is `branch_rate` times
    ``train.lr``. The strategy's held-out parameters are in no group.
    """
    rate, decay = config.lr, config.weight_decay
    groups = [
        ParameterGroup("branch", m, list(model.branches[m].parameters()), branch_rate * rate, decay)
        for m in model.modalities
    ]
    held_out = {id(p) for p in model.strategy.held_out_parameters()}
    head = [p for p in model.strategy.parameters() if id(p) not in held_out]
    groups.append(ParameterGroup("head", None, head, rate, decay))
    if model.has_probes:
        groups += [
            ParameterGroup("probe", m, list(model.probes[m].parameters()), rate, decay)
            for m in model.modalities
        ]
    for balancer in balancers:
        changed = balancer.parameter_groups(groups)
        groups = return_checks.sequence(balancer, "parameter_groups", changed, ParameterGroup)
    return [group for group in groups if group.parameters]


class Optimizer:
    """Optimiser that applies the balancers' gradient factors to the update, also under Adam.

    Parameters
    ----------
    groups : list of ParameterGroup
        Parameters to train, with their learning rates.
    config : TrainConfig
        Settings: kind of optimiser, schedule and clipping.
    steps : int
        Length of the schedule in steps: linear warm-up, then a cosine to 0.
    """

    def __init__(self, groups: list[ParameterGroup], config: TrainConfig, steps: int) -> None:
        self.groups = groups
        self.config = config
        self.steps = steps
        device = groups[0].parameters[0].device
        on_gpu = device.type == "cuda"
        torch_groups: list[dict[str, Any]] = [
            {
                "params": group.parameters,
                # A rate on the GPU lets factors change the rate without waiting for the GPU.
                "lr": torch.tensor(group.lr, device=device) if on_gpu else group.lr,
                "weight_decay": group.weight_decay,
            }
            for group in groups
        ]
        self.scale_free = config.optimizer == "adamw"
        self._optimizer: torch.optim.Optimizer
        if self.scale_free:
            fused = on_gpu or device.type == "cpu"
            self._optimizer = _uncompiled(torch.optim.AdamW)(
                torch_groups, lr=config.lr, fused=fused
            )
        else:
            self._optimizer = _uncompiled(torch.optim.SGD)(
                torch_groups,
                lr=config.lr,
                momentum=0.9,
                nesterov=True,
                # The fused kind does not wait for the learning rate, which is on the GPU.
                foreach=not on_gpu,
                fused=on_gpu,
            )

    def zero_grad(self) -> None:
        """Set all gradients to None."""
        self._optimizer.zero_grad(set_to_none=True)

    def step(self, index: int, gradients: Gradients) -> None:
        """Take step `index` (from 0), with the factors that balancers set in `gradients`.

        Under SGD a factor multiplies the gradient. Adam divides the gradient by its running
        magnitude, which would cancel the factor. Under Adam the factor therefore multiplies the
        learning rate.
        """
        if not self.scale_free:
            for modality, factor in gradients.factors.items():
                torch._foreach_mul_(gradients[modality], factor)
        self._clip()
        schedule = self.schedule(index)
        for group, live in zip(self.groups, self._optimizer.param_groups, strict=True):
            rate: float | Tensor = group.lr * schedule
            if self.scale_free and group.role == "branch" and group.modality in gradients.factors:
                rate = rate * gradients.factors[group.modality]
            if not isinstance(live["lr"], Tensor):
                live["lr"] = float(rate)
            elif isinstance(rate, Tensor):
                live["lr"].copy_(rate)
            else:  # fill_, because a copy from the CPU would wait for the device
                live["lr"].fill_(rate)
        self._optimizer.step()

    def schedule(self, index: int) -> float:
        """Return the factor on every learning rate at step `index`."""
        warm = self.config.warmup * self.steps
        if index < warm:
            return (index + 1) / (warm + 1)
        share = (index - warm) / max(1.0, self.steps - warm)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, share)))

    def _clip(self) -> None:
        if self.config.clip > 0:
            # Probes are left out, so that their gradients do not reduce the branches' gradients.
            trained = [p for g in self.groups if g.role != "probe" for p in g.parameters]
            torch.nn.utils.clip_grad_norm_(trained, self.config.clip, foreach=True)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the torch optimiser."""
        return self._optimizer.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state that :meth:`state_dict` returned."""
        self._optimizer.load_state_dict(dict(state))


@lru_cache
def _uncompiled(kind: type[torch.optim.Optimizer]) -> Any:
    """Return a subclass of a torch optimiser whose methods have no compiler wrappers.

    The wrappers import torch's compiler to exclude the methods from compilation. The import takes
    most of a second in every process, and this optimiser is never part of compiled code.
    """
    methods = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
    bare: dict[str, Any] = {name: inspect.unwrap(getattr(kind, name)) for name in methods}
    bare["step"] = torch.no_grad()(inspect.unwrap(kind.step))
    return type(kind.__name__, (kind,), bare)
