"""On-the-fly prediction modulation: the dominant modality's features are dropped at random."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ...core.contracts import Balancer, Context, Space, Step, Uniform, hookimpl
from ...core.contracts.errors import ParameterError
from ...core.toolkit.device import on_device
from ...core.toolkit.ranges import check_ranges
from ._scores import compared

_ROUNDING = 1e-5  # a lead this small is none: the rate jumps from 0 to q_base there


class OPM(Balancer):
    """Feature dropout of the dominant modality, at a rate that follows its lead.

    With s_m the sum over the batch of what the probe of m gives to the right class,

        rho_m = tanh(max(0, s_m / (mean over j != m of s_j) - 1))
        q_m   = q_base * (1 + lam * rho_m) where rho_m > 0, else 0,

    and each entry of z_m that the strategy receives (each channel, where it receives a map) is
    set to 0 with probability q_m, the others divided by 1 - q_m, as in dropout. A batch is
    treated so with probability p_exe, from the epoch after `warmup` on.

    On-the-fly prediction modulation (Wei et al. 2024, TPAMI). It is for two modalities; the
    mean over the others is the usual generalisation, as in ogm_ge (public code takes the sum,
    so that of three modalities hardly one is ever dominant). Departures: public code drops all
    of z_m for a clip, which is ``unit=clip`` here, leaves out clips that lost everything, and
    divides all modalities by one factor, 1 less the mean of the q; then the expected size of
    every embedding in training differs from that in evaluation. Here each keeps its own.
    The modality that lags is never dropped, and of clips that lack it nothing is, so no clip
    loses everything. s_m comes from the
    probes, whatever the strategy. Probes and losses of one modality see what was not dropped.

    Parameters
    ----------
    q_base : float
        Rate of a modality that leads by little, in (0, 1).
    lam : float
        How much a larger lead raises the rate, >= 0; q_base * (1 + lam) must be below 1.
    p_exe : float
        Share of the batches that are treated, in [0, 1].
    warmup : int
        Epochs before it starts, >= 0.
    unit : {"entry", "clip"}
        What is dropped at once: an entry of the embedding (or channel of the map), or the
        whole of the modality for a clip.

    When to use
    -----------
    Where the fused model leans on one modality and over-fits with it. Cheap, and worth trying
    first among the score-based methods.

    Cost
    ----
    Next to nothing.

    References
    ----------
    Wei, Y., Hu, D., Du, H., Wen, J.-R. (2024). On-the-fly modulation for balanced multimodal
    learning. IEEE TPAMI.
    """

    name = "opm"
    space: ClassVar[Mapping[str, Space]] = {"q_base": Uniform(0.1, 0.6), "lam": Uniform(0.0, 0.6)}

    def __init__(
        self,
        *,
        q_base: float = 0.4,
        lam: float = 0.5,
        p_exe: float = 0.7,
        warmup: int = 5,
        unit: Literal["entry", "clip"] = "entry",
    ) -> None:
        check_ranges(
            self.name, "0 < q_base < 1, lam >= 0, 0 <= p_exe <= 1 and warmup >= 0", locals()
        )
        if q_base * (1 + lam) >= 1:
            raise ParameterError(
                "opm.q_base * (1 + opm.lam) is the highest rate and must be below 1; given "
                f"q_base={q_base}, lam={lam}: {q_base * (1 + lam):g}.",
                hint=f"With q_base={q_base}, lam must be below {1 / q_base - 1:g}.",
            )
        if unit not in ("entry", "clip"):
            raise ParameterError(f"opm.unit must be 'entry' or 'clip', and is {unit!r}.")
        self.q_base = q_base
        self.lam = lam
        self.p_exe = p_exe
        self.warmup = warmup
        self.unit = unit

    @property
    def acts_from(self) -> int:
        return self.warmup + 1

    def setup(self, context: Context) -> None:
        self._rates = {m: torch.zeros(()) for m in context.modalities}

    def representations(self, representations: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        if step.epoch <= self.warmup or len(representations) < 2:
            return representations
        scores = compared(step)
        self._rates = {m: torch.zeros((), device=x.device) for m, x in representations.items()} | (
            self.rates(scores) if len(scores) > 1 else {}
        )
        if float(torch.rand((), generator=step.generator)) >= self.p_exe:
            return representations
        # By name, so that the numbers drawn do not depend on the order of the modalities.
        dropped = {m: self._dropped(representations[m], m, step) for m in sorted(representations)}
        return {m: dropped[m] for m in representations}

    def rates(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Scores s_m -> rates q_m, scalars, by modality; two modalities or more."""
        total = torch.stack(list(scores.values())).sum()
        found: dict[str, Tensor] = {}
        for m, score in scores.items():
            others = (total - score) / (len(scores) - 1)
            rho = (score / others.clamp_min(1e-12) - 1).relu().tanh()
            rate = self.q_base * (1 + self.lam * rho)
            found[m] = torch.where(rho > _ROUNDING, rate, torch.zeros_like(rate))
        return found

    def _dropped(self, x: Tensor, modality: str, step: Step) -> Tensor:
        shape = (len(x), x.shape[1] if self.unit == "entry" else 1)
        drawn = on_device(torch.rand(shape, generator=step.generator), x.device)
        rate = self._rates[modality].to(x.device)
        kept = (drawn >= rate) / (1 - rate)  # (B, D) or (B, 1)
        if step.presence is not None:
            kept = torch.where(self._spare(step)[:, None], kept, 1.0)
        return x * kept.to(x.dtype).view(*shape, *[1] * (x.dim() - 2))

    def _spare(self, step: Step) -> Tensor:
        """Which clips show a modality that is not dropped, (B,) bool."""
        rates = torch.stack([self._rates[m].to(step.present.device) for m in step.modalities])
        return (step.present & (rates == 0)).any(dim=1)

    def metrics(self) -> dict[str, float]:
        return {f"opm.{m}": float(rate) for m, rate in self._rates.items()}


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [OPM]
