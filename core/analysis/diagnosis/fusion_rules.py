"""Rules that compare a fused model with pools of its own branches on held-out speakers."""

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

FEWEST_SPEAKERS = 6  # with fewer no permutation of whole speakers gives p < 0.05
_SEVERE = 10.0  # points


def held_back(e: Evidence, t: Thresholds) -> Iterable[Finding]:
    """Branches that know less of held-out speakers inside the fusion than alone."""
    if not e.has_probes:
        return
    for m in e.modalities:
        late = 100 * (e.late_single(m, "val_uar") - e.late(f"val_uar.{m}"))
        probe, alone, p, speakers = _probe_against_alone(e, m)
        # Means over late epochs: the kept epoch of each training was chosen on these clips.
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
    """UAR of probe and single modality in points, p-value of the difference, and speakers."""
    probes: list[npt.NDArray[Any]] = []
    singles: list[npt.NDArray[Any]] = []
    clips: list[npt.NDArray[Any]] = []
    uars: list[tuple[float, float]] = []
    for fold in e.folds:
        judged = e.known(fold.split.val, m)
        rows = np.isin(fold.split.val, judged)
        probes.append(fold.said[FUSED].unimodal[m].argmax(axis=1)[rows])
        singles.append(fold.said[m].probabilities.argmax(axis=1)[rows])
        clips.append(judged)
        uars.append((e.uar(probes[-1], judged), e.uar(singles[-1], judged)))
    probe, alone = (100 * e.mean(found) for found in zip(*uars, strict=True))
    every, said, own = (np.concatenate(x) for x in (clips, probes, singles))
    truth, speakers = e.data.targets[every], e.speakers(every)
    count = len(np.unique(speakers))
    if count < FEWEST_SPEAKERS:
        won = int(((own == truth) & (said != truth)).sum())
        lost = int(((own != truth) & (said == truth)).sum())
        return probe, alone, _sign_p(won, won + lost), count
    tables = [confusion_by_group(truth, x, speakers, e.classes) for x in (said, own)]
    return probe, alone, paired_comparison(tables[0], tables[1], resamples=1).p_value, count


def _sign_p(hits: int, of: int) -> float:
    """Two-sided exact sign test; 1 where there is nothing to compare."""
    from scipy.stats import binomtest  # half a second, which a run's start need not wait for

    return float(binomtest(hits, of, 0.5).pvalue) if of else 1.0


def misplaced_trust(e: Evidence, t: Thresholds) -> Iterable[Finding]:
    """A modality that counts for far more than it knows of held-out speakers."""
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
        f"{m} has {e.trust[m]:.0%} of the fused scores on validation; a pool of the same probes "
        f"that is fitted to held-out speakers gives it {competence[m]:.0%}. That pool reaches "
        f"{pool:.1f} UAR on validation, the fused model {fused:.1f}.",
        f"a share of the fused scores {t.trust_share:g} or more above the share in the log-linear "
        f"pool of the probes (fitted without the validation speaker that it is read on), and "
        f"{t.pool_points:g} points or more below that pool",
        m,
        {"pool": pool, "fused": fused, "behind": e.behind}
        | {f"share.{o}": x for o, x in e.trust.items()}
        | {f"competence.{o}": x for o, x in competence.items()},
    )


def memorised_head(e: Evidence, t: Thresholds) -> Iterable[Finding]:
    """A head that learned on training clips that the branches know by heart."""
    if not e.has_probes or len(e.modalities) < 2:
        return
    train = e.late("train_uar")
    probes = {m: e.late(f"train_uar.{m}") for m in e.modalities}
    known = [x for x in probes.values() if math.isfinite(x)]
    if not train >= t.memorised or max(known, default=0.0) < t.memorised:
        return
    pool, fused = e.pool_points(e.probe_pools), 100 * e.val_uar(FUSED)
    if not pool - fused >= t.pool_points:
        return
    by_heart = ", ".join(f"{m} {100 * x:.1f}" for m, x in probes.items() if math.isfinite(x))
    yield Finding(
        "memorised_head",
        _by_loss(e, t),
        f"On training clips the fused scores reach {100 * train:.1f} UAR and the probes "
        f"{by_heart}: such clips do not show which modality to believe. A pool of the same probes "
        f"that is fitted to held-out speakers reaches {pool:.1f} on validation, the fused model "
        f"{fused:.1f}.",
        f"training UAR of the fused scores and of a probe of {100 * t.memorised:g} or more, and "
        f"{t.pool_points:g} points or more below the log-linear pool of the probes (fitted "
        "without the validation speaker that it is read on)",
        None,
        {"train": 100 * train, "pool": pool, "fused": fused, "behind": e.behind}
        | {f"train.{m}": 100 * x for m, x in probes.items()},
    )


def unexplained(e: Evidence, t: Thresholds) -> Iterable[Finding]:
    """A fused model below the best single modality for which no other rule has a reason.

    Runs the isolating experiment. From the pool of the single-modality models to the fused
    model one part is exchanged at a time, so that the differences add up to the whole.
    """
    if not e.behind >= t.behind_points:
        return
    found = e.blame
    best, single = e.best_single
    numbers = {"behind": e.behind, "best_single": 100 * single, "singles": found.singles,
               "probes": found.probes, "head": found.head, "fused": found.fused}  # fmt: skip
    parts = {
        "the branches": found.singles - found.probes,
        "whom the head trusts": found.probes - found.head,
        "the head": found.head - found.fused,
    }
    if not math.isfinite(found.head):
        parts = {
            "the branches": found.singles - found.probes,
            "the head and whom it trusts": found.probes - found.fused,
        }
    parts = {name: points for name, points in parts.items() if math.isfinite(points)}
    worst = max(parts, key=parts.__getitem__, default="")
    says = (
        f"The fused model reaches {found.fused:.1f} UAR on validation, {best} alone "
        f"{100 * single:.1f}, and no other rule says why. "
        + _experiment(e)
        + (
            f" Most is lost by {worst}: {parts[worst]:.1f} points."
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
    """Report the three parts of the isolating experiment in one sentence each."""
    found = e.blame
    says = [
        f"A log-linear pool of the modalities trained alone reaches {found.singles:.1f} (weights "
        "from other validation speakers)"
    ]
    if math.isfinite(found.probes):
        says.append(f"the same pool of the fused model's probes {found.probes:.1f}")
    if math.isfinite(found.head):
        says.append(
            "a fresh linear head on the fused model's embeddings, fitted to training clips, "
            f"{found.head:.1f}"
        )
    return "; ".join(says) + "."


def _by_loss(e: Evidence, t: Thresholds) -> Severity:
    """Mild where the fused model is not clearly below the best single modality."""
    if e.behind < t.behind_points:
        return "mild"
    return "severe" if e.behind >= _SEVERE else "moderate"
