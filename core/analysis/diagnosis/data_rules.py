"""Rules on the clips and on what the features themselves show, whatever the networks do."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ...data.split_modes import MODES
from .evidence import Evidence, Fold
from .findings import Finding, Severity
from .thresholds import Thresholds
from .views import cross_validated, linear_predictions, retrieval_ranks, standardised

_SHOWN = 5  # clips
_MOST = 2000  # clips that pairs are judged by
_FEWEST = 100  # clips to judge pairs or confident predictions by
_CONFIDENT = 0.2  # share of the clips
_KNOWN = 0.4  # of the way from chance to 1, that a modality knows to judge labels by it


def not_finite(e: Evidence, t: Thresholds) -> Iterable[Finding]:
    """Values that are no numbers."""
    for m in e.modalities:
        share = e.inputs(m, "raw", "nan")
        if share > 0:
            yield Finding(
                "not_finite",
                "severe",
                f"{share:.2%} of the values of {m} are NaN or infinite.",
                "any value that is no finite number",
                m,
                {"share": share},
            )


def leaked_speakers(e: Evidence, t: Thresholds) -> Iterable[Finding]:
    """Speakers that are heard in training and tested on."""
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
            f"{len(leaked)} of {len(tested)} speakers of validation and test are in training "
            f"too: what is measured is how well known voices are told apart. The split is "
            f"{MODES[e.config.split].name!r}.",
            "a speaker in training and in validation or test of one fold",
            None,
            {"leaked": len(leaked), "speakers": len(tested)},
            names,
        )


def duplicates(e: Evidence, t: Thresholds) -> Iterable[Finding]:
    """The same recording more than once."""
    by_key: dict[tuple[str, float, float | None], list[int]] = {}
    for i, (clip, key) in enumerate(zip(e.data.clips, e.data.keys, strict=True)):
        by_key.setdefault((key, clip.recording.start, clip.recording.end), []).append(i)
    groups = [group for group in by_key.values() if len(group) > 1]
    if not groups:
        return
    more = sum(len(group) - 1 for group in groups)
    share = more / len(e.data.clips)
    apart = sum(any(_apart(group, fold) for fold in e.folds) for group in groups)
    conflicting = sum(len({e.data.targets[i] for i in group}) > 1 for group in groups)
    severity: Severity = "mild"
    if apart or conflicting:
        severity = "moderate"
    if share > t.duplicate_share:
        severity = "severe"
    names = tuple(" = ".join(e.data.clips[i].name for i in group) for group in groups[:_SHOWN])
    yield Finding(
        "duplicates",
        severity,
        f"{more} clips ({share:.1%}) are copies of others, byte for byte; {apart} recordings lie "
        f"in training and in validation or test at once, {conflicting} have two labels.",
        f"equal content digests; severe above {t.duplicate_share:.0%} of the clips, moderate when "
        "copies lie on both sides of a split or have other labels",
        None,
        {"copies": more, "share": share, "across": apart, "conflicting": conflicting},
        names,
    )


def _apart(group: list[int], fold: Fold) -> bool:
    heard = np.isin(group, fold.split.train)
    judged = np.isin(group, fold.split.val) | np.isin(group, fold.split.test)
    return bool(heard.any() and judged.any())


def mispaired(e: Evidence, t: Thresholds) -> Iterable[Finding]:
    """Modalities whose arrays do not belong to the same clips."""
    for a, b in combinations(e.views, 2):
        train = e.known(e.folds[0].split.train, a, b)
        if len(train) < _FEWEST:
            continue
        if len(train) > _MOST:  # each is compared with a fifth of them
            train = np.sort(np.random.default_rng(0).choice(train, _MOST, replace=False))
        share, worst = _random_share(*(standardised(e.views[m], train)[train] for m in (a, b)))
        if share <= t.paired_share:
            continue
        alone = {m: e.val_uar(m) for m in (a, b)}
        m = min(alone, key=alone.__getitem__)
        weak = alone[m] < 1 / e.classes + 0.1 * (1 - 1 / e.classes)
        # Views that have nothing in common look the same; a shuffled one knows nothing either.
        if share >= 0.9 and not weak:
            continue
        names = tuple(e.data.clips[train[i]].name for i in np.argsort(-worst)[:_SHOWN])
        yield Finding(
            "mispaired",
            "severe" if weak or share >= 0.5 else "moderate",
            f"Of about {share:.0%} of the clips, {a} and {b} fit each other no better than those "
            f"of two clips taken at random; {m} alone reaches {100 * alone[m]:.1f} UAR on "
            "validation.",
            f"more than {t.paired_share:.0%} of the clips whose view in one modality can't be "
            "found again from the other (by ridge regression, five-fold, on training clips)",
            m,
            {"share": share, f"alone.{m}": alone[m]},
            names,
        )


def _random_share(
    a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]
) -> tuple[float, npt.NDArray[np.float64]]:
    """Estimated share of random pairs, and how ill each clip fits.

    Of clips paired at random half have a rank above one half, of others next to none.
    """
    both = [retrieval_ranks(x, y, np.random.default_rng(0)) for x, y in ((a, b), (b, a))]
    shares = [float(2 * (ranks > 0.5).mean() + (ranks == 0.5).mean()) for ranks in both]
    return min(1.0, *shares), np.minimum(*both)


def architecture_imbalance(e: Evidence, t: Thresholds) -> Iterable[Finding]:
    """A branch that, alone, does not reach what a linear classifier reads from its features."""
    for m, view in e.views.items():
        linear = _linear(e, m, view)
        alone, trained = 100 * e.val_uar(m), 100 * e.late_single(m, "train_uar")
        below, unfitted = linear.val - alone, linear.train - trained
        says: list[str] = []
        if below >= t.linear_points and linear.p < t.linear_p:
            says.append(
                f"{m} alone reaches {alone:.1f} UAR on validation; a linear classifier on averages "
                f"of the same features {linear.val:.1f}."
            )
        if unfitted >= t.unfitted_points:
            says.append(
                f"Alone it fits its own training clips to {trained:.1f}; a linear classifier gets "
                f"{linear.train:.1f} of them right without having seen them."
                if says
                else f"{m} alone fits its own training clips to {trained:.1f} UAR; a linear "
                f"classifier on averages of the same features reaches {linear.train:.1f} on those "
                "that it has not seen."
            )
        if not says:
            continue
        worst = max(below if len(says) > 1 or linear.p < t.linear_p else 0.0, unfitted)
        yield Finding(
            "architecture_imbalance",
            "severe" if worst >= 20 else "moderate" if worst >= 12 or unfitted > 0 else "mild",
            " ".join(says),
            f"{t.linear_points:g} points or more below it on validation with p < {t.linear_p:g} "
            f"(sign test), or {t.unfitted_points:g} points on the training clips",
            m,
            {"alone": alone, "linear": linear.val, "p": linear.p, "trained": trained,
             "linear_train": linear.train},
        )  # fmt: skip


class _Linear(NamedTuple):
    """What a linear classifier reaches on validation and, cross-validated, on training clips.

    `p` is of the sign test that it is better than the branch on validation.
    """

    val: float
    train: float
    p: float


def _linear(e: Evidence, m: str, view: npt.NDArray[np.float64]) -> _Linear:
    won = lost = 0
    val: list[float] = []
    train: list[float] = []
    for fold in e.folds:
        heard, judged = e.known(fold.split.train, m), e.known(fold.split.val, m)
        truth = e.data.targets[judged]
        said = linear_predictions(view, e.data.targets, e.classes, heard, judged)
        own = fold.said[m].probabilities.argmax(axis=1)[np.isin(fold.split.val, judged)]
        won += int(((said == truth) & (own != truth)).sum())
        lost += int(((said != truth) & (own == truth)).sum())
        val.append(100 * e.uar(said, judged))
        unseen = cross_validated(view, e.data.targets, e.classes, heard)
        train.append(100 * e.uar(unseen, heard))
    return _Linear(e.mean(val), e.mean(train), _p_value(won, won + lost, 0.5))


def _p_value(hits: int, of: int, share: float) -> float:
    """Exact binomial test that hits are more frequent than `share`; 1 where there are none."""
    from scipy.stats import binomtest  # half a second, which a run's start need not wait for

    return float(binomtest(hits, of, share, alternative="greater").pvalue) if of else 1.0


def label_noise(e: Evidence, t: Thresholds) -> Iterable[Finding]:
    """Confident predictions of speakers never heard that are wrong too often."""
    best = max(e.modalities, key=e.val_uar)
    wrong: list[tuple[float, int]] = []
    looked = 0
    for fold in e.folds:
        probabilities = fold.said[best].probabilities
        truth = e.data.targets[fold.split.val]
        confidence = probabilities.max(axis=1)
        first = np.argsort(-confidence, kind="stable")[: max(1, round(_CONFIDENT * len(truth)))]
        looked += len(first)
        missed = first[probabilities[first].argmax(axis=1) != truth[first]]
        wrong += [(float(confidence[i]), int(fold.split.val[i])) for i in missed]
    share = len(wrong) / max(1, looked)
    known = e.val_uar(best) - 1 / e.classes
    if looked * 5 < _FEWEST or share < t.noise_share or known < _KNOWN * (1 - 1 / e.classes):
        return
    if _p_value(len(wrong), looked, t.noise_share / 2) >= 0.01:
        return
    names = tuple(e.data.clips[i].name for _, i in sorted(wrong, reverse=True)[:_SHOWN])
    yield Finding(
        "label_noise",
        "moderate",
        f"Of the {looked} most confident predictions of {best} on validation, {share:.0%} are "
        f"wrong, though it reaches {100 * e.val_uar(best):.1f} UAR: labels may be wrong, or "
        "the classes can't be told apart.",
        f"at least {t.noise_share:.0%} of the most confident fifth, in a modality that knows "
        "something",
        best,
        {"share": share, "looked": looked},
        names,
    )
