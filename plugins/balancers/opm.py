"""Modulation of predictions: random feature dropout of the dominant modality."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ...core.contracts import Balancer, Context, Space, Step, Uniform, hookimpl
from ...core.contracts.errors import ParameterError
from ...core.toolkit.device import on_device
from ...core.toolkit.ranges import check_ranges
from ._scores import known_scores

_ROUNDING = 1e-5  # a smaller lead counts as none, because the rate jumps from 0 to q_base


class OPM(Balancer):
    """Feature dropout of the dominant modality, at a rate that grows with its lead.

    ::

        s_m   = sum over the batch of p_m(right class)
        rho_m = tanh(max(0, s_m / (mean over j != m of s_j) - 1))
        q_m   = q_base * (1 + lam * rho_m)   if rho_m > 0,  else 0
        each entry of z_m <- 0 with probability q_m,  else entry / (1 - q_m)
                             with probability p_exe per batch, after epoch `warmup`

    p_m are the probabilities of the probe of m. The entries are those of the embedding that the
    strategy receives, or the channels of the map.

    Departures from the paper (on-the-fly prediction modulation): the paper is for two modalities.
    The mean over the other modalities is the usual generalisation, as in `ogm_ge`. Public code
    takes the sum over the other modalities. With this sum, hardly any of three modalities is ever
    dominant. Public code drops all of z_m for a clip, as ``unit=clip`` does here. Public code
    leaves out clips that lost every modality, and divides all modalities by one factor, 1 minus the
    mean of the q. The expected size of every embedding in training then differs from that in
    evaluation. Here each embedding keeps its expected size. The lagging modality is never dropped,
    and a clip that lacks it loses nothing, so no clip loses every modality. s_m comes from the
    probes, for any strategy. The probes and single-modality losses receive the embeddings before
    dropout.

    Parameters
    ----------
    q_base : float
        Dropout rate of a modality whose lead is small, in (0, 1).
    lam : float
        Increase of the rate with the lead, >= 0; q_base * (1 + lam) must be below 1.
    p_exe : float
        Share of the batches with dropout, in [0, 1].
    warmup : int
        Epochs before the dropout starts, >= 0.
    unit : {"entry", "clip"}
        Unit of dropout: an entry of the embedding (or channel of the map), or the whole modality of
        a clip.

    When to use
    -----------
    If the fused model relies on one modality and overfits with it. The method is cheap and a good
    first choice among the score-based methods.

    Cost
    ----
    Negligible.

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
                "opm.q_base * (1 + opm.lam), the highest rate, must be below 1, and is "
                f"{q_base * (1 + lam):g} (q_base={q_base}, lam={lam}).",
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
        scores = known_scores(step)
        self._rates = {m: torch.zeros((), device=x.device) for m, x in representations.items()} | (
            self.rates(scores) if len(scores) > 1 else {}
        )
        if float(torch.rand((), generator=step.generator)) >= self.p_exe:
            return representations
        # Sorted by name, so that the draw does not depend on the order of the modalities.
        dropped = {m: self._dropped(representations[m], m, step) for m in sorted(representations)}
        return {m: dropped[m] for m in representations}

    def rates(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the rates q_m, scalars by modality, given the scores s_m of two or more."""
        total = torch.stack(list(scores.values())).sum()
        rates: dict[str, Tensor] = {}
        for m, score in scores.items():
            other_mean = (total - score) / (len(scores) - 1)
            rho = (score / other_mean.clamp_min(1e-12) - 1).relu().tanh()
            rate = self.q_base * (1 + self.lam * rho)
            rates[m] = torch.where(rho > _ROUNDING, rate, torch.zeros_like(rate))
        return rates

    def _dropped(self, x: Tensor, modality: str, step: Step) -> Tensor:
        shape = (len(x), x.shape[1] if self.unit == "entry" else 1)
        drawn = on_device(torch.rand(shape, generator=step.generator), x.device)
        rate = self._rates[modality].to(x.device)
        factor = (drawn >= rate) / (1 - rate)  # (B, D) or (B, 1)
        if step.presence is not None:
            factor = torch.where(self._shows_undropped(step)[:, None], factor, 1.0)
        return x * factor.to(x.dtype).view(*shape, *[1] * (x.dim() - 2))

    def _shows_undropped(self, step: Step) -> Tensor:
        """Return which clips show a modality that is not dropped, (B,) bool."""
        rates = torch.stack([self._rates[m].to(step.present.device) for m in step.modalities])
        return (step.present & (rates == 0)).any(dim=1)

    def metrics(self) -> dict[str, float]:
        return {f"opm.{m}": float(rate) for m, rate in self._rates.items()}


@hookimpl
def fusion_balancers() -> list[type[Balancer]]:
    return [OPM]
