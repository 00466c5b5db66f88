"""Rules that compare a fused model with pools of its branches on held-out speakers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from ...runs.trainings import FUSED
from ...toolkit.intervals import paired_comparison
from ...toolkit.metrics import confusion_by_group
from .evidence import Evidence
from .findings import Finding, Severity
from .thresholds import Thresholds

FEWEST_SPEAKERS = 6  # with fewer speakers, no permutation of whole speakers can give p < 0.05
_SEVERE = 10.0  # points
# Parts of the isolating experiment: names in the sentence, by name in `numbers`.
_PARTS = {
    "the branches": "the branches",
    "whom the head trusts": "the trust that the head puts in each modality",
    "the head and whom it trusts": "the head and the trust that it puts in each modality",
    "the head": "the head",
}


def held_back(e: Evidence, t: Thresholds) -> Iterable[Finding]:
    """Report branches that predict held-out speakers worse in the fused model than alone."""
    if not e.has_probes:
        return
    for m in e.modalities:
        late = 100 * (e.late_single(m, "val_uar") - e.late(f"val_uar.{m}"))
        probe, alone, p, speakers = _probe_against_alone(e, m)
        # The kept epoch of each training was chosen on the validation clips. The means over late
        # epochs do not depend on that choice. The rule therefore uses the smaller of the two
        # differences.
        points = min([x for x in (alone - probe, late) if math.isfinite(x)])
        if not points >= t.held_points or not p < t.held_p:
            continue
        units = "speakers" if speakers >= FEWEST_SPEAKERS else "clips"
        yield Finding(
            "held_back",
            _by_loss(e, t),
            f"Inside the fused model the probe of {m} reaches {probe:.1f} UAR on validation; "
            f"{m} trained alone reaches {alone:.1f} (late in both trainings: {late:.1f} points "
            f"apart; p = {p:.2g}, paired over {units}).",
            f"a probe {t.held_points:g} points or more below the modality trained alone on "
            f"validation, at the kept epochs and late in both trainings, with p < {t.held_p:g} "
            f"(permutation of whole speakers; with fewer than {FEWEST_SPEAKERS} speakers a sign "
            "test on the clips)",
            m,
            {"probe": probe, "alone": alone, "late": late, "p": p, "speakers": speakers,
             "behind": e.behind},
        )  # fmt: skip


def _probe_against_alone(e: Evidence, m: str) -> tuple[float, float, float, int]:
    """Return both UARs in points (probe, alone), the p-value and the number of speakers."""
    probes: list[npt.NDArray[Any]] = []
    singles: list[npt.NDArray[Any]] = []
    clips: list[npt.NDArray[Any]] = []
    uars: list[tuple[float, float]] = []
    for fold in e.folds:
        judged = e.having(fold.split.val, m)
        rows = np.isin(fold.split.val, judged)
        probes.append(fold.predictions[FUSED].unimodal[m].argmax(axis=1)[rows])
        singles.append(fold.predictions[m].probabilities.argmax(axis=1)[rows])
        clips.append(judged)
        uars.append((e.uar(probes[-1], judged), e.uar(singles[-1], judged)))
    probe, alone = (100 * e.mean(uar) for uar in zip(*uars, strict=True))
    every, probe_classes, single_classes = (np.concatenate(x) for x in (clips, probes, singles))
    truth, speakers = e.data.targets[every], e.speakers(every)
    count = len(np.unique(speakers))
    if count < FEWEST_SPEAKERS:
        won = int(((single_classes == truth) & (probe_classes != truth)).sum())
        lost = int(((single_classes != truth) & (probe_classes == truth)).sum())
        return probe, alone, _sign_p(won, won + lost), count
    tables = [
        confusion_by_group(truth, x, speakers, e.classes) for x in (probe_classes, single_classes)
    ]
    return probe, alone, paired_comparison(tables[0], tables[1]).p_value, count


def _sign_p(hits: int, of: int) -> float:
    """Return the p-value of a two-sided exact sign test; 1 if there is nothing to compare."""
    from scipy.stats import binomtest  # lazy: the import takes half a second

    return float(binomtest(hits, of, 0.5).pvalue) if of else 1.0


def misplaced_trust(e: Evidence, t: Thresholds) -> Iterable[Finding]:
    """Report a modality whose share in the fused scores is far larger than its competence.

    The competence is the modality's share in a pool of the probes, fitted to held-out speakers.
    """
    if not e.has_probes or len(e.modalities) < 2:
        return
    pool, fused = e.pool_points(e.probe_pools), 100 * e.val_uar(FUSED)
    if not pool - fused >= t.pool_points:
        return
    shares = np.mean([p.shares for p in e.probe_pools], axis=0).tolist()
    competence = dict(zip(e.modalities, shares, strict=True))
    excess = {m: e.trust[m] - competence[m] for m in e.modalities}
    m = max(excess, key=excess.__getitem__)
    if not excess[m] >= t.trust_share:
        return
    yield Finding(
        "misplaced_trust",
        _by_loss(e, t),
        f"{m} has a share of {e.trust[m]:.0%} in the fused scores on validation; a pool of the "
        f"same probes that is fitted to held-out speakers gives it {competence[m]:.0%}. That pool "
        f"reaches {pool:.1f} UAR on validation, the fused model {fused:.1f}.",
        f"a share in the fused scores {t.trust_share:g} or more above the share in the log-linear "
        "pool of the probes (fitted without the validation speaker that it is evaluated on), and "
        f"fused scores {t.pool_points:g} points or more below that pool",
        m,
        {"pool": pool, "fused": fused, "behind": e.behind}
        | {f"share.{o}": x for o, x in e.trust.items()}
        | {f"competence.{o}": x for o, x in competence.items()},
    )


def memorised_head(e: Evidence, t: Thresholds) -> Iterable[Finding]:
    """Report a head that was trained on clips that the branches had already memorised."""
    if not e.has_probes or len(e.modalities) < 2:
        return
    train = e.late("train_uar")
    probes = {m: e.late(f"train_uar.{m}") for m in e.modalities}
    measured = [x for x in probes.values() if math.isfinite(x)]
    if not train >= t.memorised or max(measured, default=0.0) < t.memorised:
        return
    pool, fused = e.pool_points(e.probe_pools), 100 * e.val_uar(FUSED)
    if not pool - fused >= t.pool_points:
        return
    memorised = ", ".join(f"{m} {100 * x:.1f}" for m, x in probes.items() if math.isfinite(x))
    yield Finding(
        "memorised_head",
        _by_loss(e, t),
        f"On training clips the fused scores reach {100 * train:.1f} UAR and the probes "
        f"{memorised}: memorised clips do not show which modality to trust. A pool of the same "
        f"probes that is fitted to held-out speakers reaches {pool:.1f} on validation, the fused "
        f"model {fused:.1f}.",
        f"training UAR of the fused scores and of a probe of {100 * t.memorised:g} or more, and "
        f"fused scores {t.pool_points:g} points or more below the log-linear pool of the probes "
        "(fitted without the validation speaker that it is evaluated on)",
        None,
        {"train": 100 * train, "pool": pool, "fused": fused, "behind": e.behind}
        | {f"train.{m}": 100 * x for m, x in probes.items()},
    )


def unexplained(e: Evidence, t: Thresholds) -> Iterable[Finding]:
    """Report a fused model below the best single modality that no other finding explains.

    The isolating experiment finds the part of the model that loses most UAR. The experiment starts
    from the pool of the single-modality models, and replaces one part at a time by the same part of
    the fused model. The differences therefore add up to the whole loss.
    """
    if not e.behind >= t.behind_points:
        return
    blame = e.blame
    best, single = e.best_single
    numbers = {"behind": e.behind, "best_single": 100 * single, "singles": blame.singles,
               "probes": blame.probes, "head": blame.head, "fused": blame.fused}  # fmt: skip
    parts = {
        "the branches": blame.singles - blame.probes,
        "whom the head trusts": blame.probes - blame.head,
        "the head": blame.head - blame.fused,
    }
    if not math.isfinite(blame.head):
        parts = {
            "the branches": blame.singles - blame.probes,
            "the head and whom it trusts": blame.probes - blame.fused,
        }
    parts = {name: points for name, points in parts.items() if math.isfinite(points)}
    worst = max(parts, key=parts.__getitem__, default="")
    says = (
        f"The fused model reaches {blame.fused:.1f} UAR on validation, {best} alone "
        f"{100 * single:.1f}, and no other rule explains why. "
        + _experiment(e)
        + (
            f" Most is lost by {_PARTS[worst]}: {parts[worst]:.1f} points."
            if worst and parts[worst] >= t.behind_points
            else f" No part loses {t.behind_points:g} points by itself."
        )
    )
    yield Finding(
        "unexplained",
        _by_loss(e, t),
        says,
        f"{t.behind_points:g} points or more below the best single modality on validation, and "
        "no finding above mild that could explain them",
        None,
        {k: v for k, v in numbers.items() if math.isfinite(v)}
        | {f"lost by {name}": points for name, points in parts.items()},
    )


def _experiment(e: Evidence) -> str:
    """Describe the available results of the isolating experiment in one sentence."""
    blame = e.blame
    says = [
        f"A log-linear pool of the modalities trained alone reaches {blame.singles:.1f} (weights "
        "from other validation speakers)"
    ]
    if math.isfinite(blame.probes):
        says.append(f"the same pool of the fused model's probes {blame.probes:.1f}")
    if math.isfinite(blame.head):
        says.append(
            "a fresh linear head on the fused model's embeddings, fitted to training clips, "
            f"{blame.head:.1f}"
        )
    return "; ".join(says) + "."


def _by_loss(e: Evidence, t: Thresholds) -> Severity:
    """Return the severity; mild if the fused model loses fewer than `behind_points`."""
    if e.behind < t.behind_points:
        return "mild"
    return "severe" if e.behind >= _SEVERE else "moderate"
