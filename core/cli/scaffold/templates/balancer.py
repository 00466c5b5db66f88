"""A balancer: who is ahead in one epoch takes shorter steps in the next."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from fusion import Balancer, Context, Gradients, ParameterError, Step, Uniform, hookimpl
from torch import Tensor

api_version = 1


class MyPlugin(Balancer):
    """Slows each branch by how far its modality was ahead of the last one in the epoch before.

    ::

        s_m  = mean over the epoch's clips of p_m(right class)
        g_m <- (min over j of s_j / s_m) ^ strength * g_m    in the next epoch

    p_m are the probabilities of the modality's probe. The one that is behind keeps its pace, as
    do all in the first epoch; equal modalities, and a single one, are left alone.

    Parameters
    ----------
    strength : float
        0 changes nothing; at 1 a modality that is twice as far takes steps half as long. >= 0.

    When to use
    -----------
    Where one modality learns in a few epochs what the other needs many for. A rule that looks
    at whole epochs is calmer than one that looks at each batch, and later.

    Cost
    ----
    None worth mentioning: the probes are there anyway.
    """

    name = "my_plugin"
    space: ClassVar = {"strength": Uniform(0.0, 2.0)}

    def __init__(self, *, strength: float = 1.0) -> None:
        if not 0 <= strength < math.inf:
            raise ParameterError(f"{self.name}.strength must be 0 or more, and is {strength}.")
        self.strength = strength
        self._factors: dict[str, float] = {}
        self._right: dict[str, Tensor] = {}  # sum over the epoch so far, by modality
        self._clips: dict[str, Tensor] = {}

    def setup(self, context: Context) -> None:
        self._factors = dict.fromkeys(context.modalities, 1.0)

    def epoch_start(self, epoch: int) -> None:
        self._right, self._clips = {}, {}

    def gradients(self, gradients: Gradients, step: Step) -> None:
        for modality in gradients.modalities:
            # Not on the gradient itself: Adam would divide the factor out again.
            gradients.scale(modality, self._factors[modality])

    def step_end(self, step: Step) -> None:
        for modality, right in step.right.items():  # (B,), 0 for a clip that lacks the modality
            self._right[modality] = self._right.get(modality, 0.0) + right.sum()
            self._clips[modality] = self._clips.get(modality, 0.0) + (right > 0).sum()

    def epoch_end(self, epoch: int, metrics: Mapping[str, Any]) -> None:
        means = {m: float(s / self._clips[m].clamp_min(1)) for m, s in self._right.items()}
        self._factors |= factors(means, self.strength)

    def metrics(self) -> dict[str, float]:
        return {f"{self.name}.{m}": factor for m, factor in self._factors.items()}

    # What a training that was killed needs to go on as if it had not been. It goes on at the
    # start of an epoch, so the sums of the epoch are not among it.
    def state_dict(self) -> dict[str, Any]:
        return {"factors": dict(self._factors)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._factors = dict(state["factors"])


def factors(means: Mapping[str, float], strength: float) -> dict[str, float]:
    """Factor of each modality's steps, in (0, 1], for given s_m in [0, 1]."""
    known = {m: mean for m, mean in means.items() if mean > 0}
    last = min(known.values(), default=1.0)
    return {m: (last / mean) ** strength for m, mean in known.items()}


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [MyPlugin]
