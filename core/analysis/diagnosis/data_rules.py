"""Diagnosis rules on clips, labels and features; most of the rules do not use the networks."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ...data.split_modes import MODES
from .evidence import Evidence
from .findings import Finding
from .recording_rules import recording_findings
from .thresholds import Thresholds
from .views import cross_validated, linear_predictions, retrieval_ranks, standardised

_SHOWN = 5  # maximum number of clips that a finding names
_MOST = 2000  # maximum number of clips that the pairing rule uses
_FEWEST = 100  # minimum number of clips for the rules on pairs and on confident predictions
_CONFIDENT = 0.2  # share of the clips that count as the most confident
# A modality is used to judge labels only if its UAR is at least this share of the way from chance
# to 1.
_COMPETENT = 0.4


def not_finite(e: Evidence, t: Thresholds) -> Iterable[Finding]:
    """Report NaN and infinite values in the features."""
    for m in e.modalities:
        share = e.inputs(m, "raw", "nan")
        if share > 0:
            yield Finding(
                "not_finite",
                "severe",
                f"{share:.2%} of the values of {m} are NaN or infinite.",
                "any value that is NaN or infinite",
                m,
                {"share": share},
            )


def leaked_speakers(e: Evidence, t: Thresholds) -> Iterable[Finding]:
    """Report training speakers of a fold that also occur in its validation or test part."""
    clips = e.data.clips
    leaked: set[str] = set()
    tested: set[str] = set()
    for fold in e.folds:
        speakers = [
            {f"{clips[i].corpus}/{clips[i].speaker}" for i in part}
            for part in (fold.split.train, np.concatenate([fold.split.val, fold.split.test]))
        ]
        leaked |= speakers[0] & speakers[1]
        tested |= speakers[1]
    if leaked:
        names = tuple(sorted(leaked)[:_SHOWN])
        yield Finding(
            "leaked_speakers",
            "severe",
            f"{len(leaked)} of {len(tested)} speakers of validation and test are in training, "
            f"too, so the scores measure performance on known voices, not on new speakers. The "
            f"split is {MODES[e.config.split].name!r}.",
            "a speaker in training and in validation or test of one fold",
            None,
            {"leaked": len(leaked), "speakers": len(tested)},
            names,
        )


def recordings(e: Evidence, t: Thresholds) -> Iterable[Finding]:
    """Report silent, constant, clipped and duplicated recordings."""
    return recording_findings(e.data, e.signals, t)


def mispaired(e: Evidence, t: Thresholds) -> Iterable[Finding]:
    """Report pairs of modalities whose arrays do not belong to the same recordings."""
    for a, b in combinations(e.views, 2):
        train = e.having(e.folds[0].split.train, a, b)
        if len(train) < _FEWEST:
            continue
        if len(train) > _MOST:  # quadratic cost: each clip is compared with a fifth of the clips
            train = np.sort(np.random.default_rng(0).choice(train, _MOST, replace=False))
        share, worst = _random_share(*(standardised(e.views[m], train)[train] for m in (a, b)))
        if share <= t.paired_share:
            continue
        alone = {m: e.val_uar(m) for m in (a, b)}
        m = min(alone, key=alone.__getitem__)
        weak = alone[m] < 1 / e.classes + 0.1 * (1 - 1 / e.classes)
        # Two views with nothing in common look like views of shuffled clips. Only a modality near
        # chance is reported as wholly shuffled.
        if share >= 0.9 and not weak:
            continue
        names = tuple(e.data.clips[train[i]].name for i in np.argsort(-worst)[:_SHOWN])
        yield Finding(
            "mispaired",
            "severe" if weak or share >= 0.5 else "moderate",
            f"For about {share:.0%} of the clips, {a} and {b} match no better than those of two "
            f"random clips; {m} alone reaches {100 * alone[m]:.1f} UAR on validation.",
            f"more than {t.paired_share:.0%} of the clips whose view in one modality can't be "
            "retrieved from the other (by ridge regression, five-fold, on training clips)",
            m,
            {"share": share, f"alone.{m}": alone[m]},
            names,
        )


def _random_share(
    a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]
) -> tuple[float, npt.NDArray[np.float64]]:
    """Return the estimated share of randomly paired clips, and every clip's retrieval rank, (n,).

    Half of the randomly paired clips have a rank above 0.5. Almost no correctly paired clip has
    such a rank. The estimate is therefore twice the share of ranks above 0.5 (a rank of 0.5 counts
    half). The function computes ranks in both directions, and returns the smaller share and the
    smaller rank of each clip.
    """
    both = [retrieval_ranks(x, y, np.random.default_rng(0)) for x, y in ((a, b), (b, a))]
    shares = [float(2 * (ranks > 0.5).mean() + (ranks == 0.5).mean()) for ranks in both]
    return min(1.0, *shares), np.minimum(*both)


def architecture_imbalance(e: Evidence, t: Thresholds) -> Iterable[Finding]:
    """Report modalities whose model, trained alone, is worse than a linear classifier."""
    for m, view in e.views.items():
        linear = _linear(e, m, view)
        alone, trained = 100 * e.val_uar(m), 100 * e.late_single(m, "train_uar")
        below, unfitted = linear.val - alone, linear.train - trained
        says: list[str] = []
        if below >= t.linear_points and linear.p < t.linear_p:
            says.append(
                f"{m} alone reaches {alone:.1f} UAR on validation; a linear classifier on averages "
                f"of the same features reaches {linear.val:.1f}."
            )
        if unfitted >= t.unfitted_points:
            says.append(
                f"On its own training clips {m} alone reaches {trained:.1f}; cross-validated on "
                f"the same clips, the linear classifier reaches {linear.train:.1f}."
                if says
                else f"{m} alone reaches {trained:.1f} UAR on its own training clips; cross-"
                "validated on the same clips, a linear classifier on averages of the same features "
                f"reaches {linear.train:.1f}."
            )
        if not says:
            continue
        worst = max(below if len(says) > 1 or linear.p < t.linear_p else 0.0, unfitted)
        yield Finding(
            "architecture_imbalance",
            "severe" if worst >= 20 else "moderate" if worst >= 12 or unfitted > 0 else "mild",
            " ".join(says),
            f"{t.linear_points:g} points or more below the linear classifier on validation with "
            f"p < {t.linear_p:g} (sign test), or {t.unfitted_points:g} points or more on the "
            "training clips",
            m,
            {"alone": alone, "linear": linear.val, "p": linear.p, "trained": trained,
             "linear_train": linear.train},
        )  # fmt: skip


class _Linear(NamedTuple):
    """UAR of a linear classifier in points, on validation and cross-validated on training clips.

    `p` is the p-value of a sign test that the classifier beats the branch on validation.
    """

    val: float
    train: float
    p: float


def _linear(e: Evidence, m: str, view: npt.NDArray[np.float64]) -> _Linear:
    """Fit linear classifiers on a view of `m`, and compare their UAR with that of the branch."""
    won = lost = 0
    val: list[float] = []
    train: list[float] = []
    for fold in e.folds:
        train_clips, val_clips = e.having(fold.split.train, m), e.having(fold.split.val, m)
        truth = e.data.targets[val_clips]
        predicted = linear_predictions(view, e.data.targets, e.classes, train_clips, val_clips)
        own = fold.predictions[m].probabilities.argmax(axis=1)[np.isin(fold.split.val, val_clips)]
        won += int(((predicted == truth) & (own != truth)).sum())
        lost += int(((predicted != truth) & (own == truth)).sum())
        val.append(100 * e.uar(predicted, val_clips))
        held_out = cross_validated(view, e.data.targets, e.classes, train_clips)
        train.append(100 * e.uar(held_out, train_clips))
    return _Linear(e.mean(val), e.mean(train), _p_value(won, won + lost, 0.5))


def _p_value(hits: int, of: int, share: float) -> float:
    """Return the p-value of an exact binomial test for more hits than `share`; 1 if `of` is 0."""
    from scipy.stats import binomtest  # lazy: the import takes half a second

    return float(binomtest(hits, of, share, alternative="greater").pvalue) if of else 1.0


def label_noise(e: Evidence, t: Thresholds) -> Iterable[Finding]:
    """Report that confident predictions for held-out speakers are wrong too often."""
    best = max(e.modalities, key=e.val_uar)
    wrong: list[tuple[float, int]] = []
    checked = 0
    for fold in e.folds:
        probabilities = fold.predictions[best].probabilities
        truth = e.data.targets[fold.split.val]
        confidence = probabilities.max(axis=1)
        first = np.argsort(-confidence, kind="stable")[: max(1, round(_CONFIDENT * len(truth)))]
        checked += len(first)
        missed = first[probabilities[first].argmax(axis=1) != truth[first]]
        wrong += [(float(confidence[i]), int(fold.split.val[i])) for i in missed]
    share = len(wrong) / max(1, checked)
    above_chance = e.val_uar(best) - 1 / e.classes
    if (
        checked * 5 < _FEWEST
        or share < t.noise_share
        or above_chance < _COMPETENT * (1 - 1 / e.classes)
    ):
        return
    if _p_value(len(wrong), checked, t.noise_share / 2) >= 0.01:
        return
    names = tuple(e.data.clips[i].name for _, i in sorted(wrong, reverse=True)[:_SHOWN])
    yield Finding(
        "label_noise",
        "moderate",
        f"{share:.0%} of the {checked} most confident predictions of {best} on validation are "
        f"wrong, although {best} reaches {100 * e.val_uar(best):.1f} UAR. Labels may be wrong, or "
        "the classes can't be distinguished.",
        f"at least {t.noise_share:.0%} errors in the most confident fifth of the predictions of a "
        "modality well above chance",
        best,
        {"share": share, "looked": checked},
        names,
    )
