"""Rules on the course of a training: branches that do not work, and faults of the fusion."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from .evidence import Evidence
from .findings import Finding, Severity
from .signs import signs_of
from .thresholds import Thresholds

_ONE_CLASS = 0.9  # share of the validation predictions that name the same class


def dead_branch(e: Evidence, t: Thresholds) -> Iterable[Finding]:
    """Report a branch whose embeddings hardly differ between clips."""
    size = float(e.spec.dim)
    limit = max(1.0, t.dead_rank * size)
    for m in e.modalities:
        rank = e.late(f"rank.{m}")
        if _is_dead(e, t, m):
            yield Finding(
                "dead_branch",
                "severe",
                f"The embeddings of {m} have an effective rank of {rank:.1f} in {size:.0f} "
                "dimensions: the branch returns nearly the same for every clip.",
                f"effective rank <= {limit:.1f} ({t.dead_rank:g} of the embedding's size), in the "
                "modality's own training as well",
                m,
                {"rank": rank, "dim": size, "spread": e.late(f"spread.{m}")},
            )


def _is_dead(e: Evidence, t: Thresholds, m: str) -> bool:
    """Return True if a branch is dead in the joint training, unless it is alive when trained alone.

    If a branch is alive when trained alone, the fusion suppresses the branch. That suppression is
    another fault.
    """
    limit = max(1.0, t.dead_rank * e.spec.dim)
    rank, alone = e.late(f"rank.{m}"), e.late_single(m, f"rank.{m}")
    return math.isfinite(rank) and rank <= limit and not alone > limit


def frozen_branch(e: Evidence, t: Thresholds) -> Iterable[Finding]:
    """Report a branch whose weights never move."""
    for m in e.modalities:
        still: dict[str, int] = {}
        layers: dict[str, float] = {}
        for fold in e.folds:
            layers = fold.fused.layers.get(m, {})
            for layer, update in layers.items():
                still[layer] = still.get(layer, 0) + (update < t.still_update)
        names = tuple(layer for layer, folds in still.items() if folds == len(e.folds))
        share = len(names) / len(layers) if layers else 0.0
        # One layer may hold nearly all weights, so the share of layers is not enough.
        sizes = e.layer_sizes.get(m, {})
        weights = sum(sizes.get(name, 0) for name in names) / max(1, sum(sizes.values()))
        if max(share, weights) >= t.still_share:
            in_weights = f" ({weights:.0%} of its weights)" if sizes else ""
            yield Finding(
                "frozen_branch",
                "severe" if max(share, weights) >= 0.9 else "moderate",
                f"{len(names)} of {len(layers)} layers of {m}{in_weights} never moved in the joint "
                "training.",
                f"a relative change per step below {t.still_update:g} in at least "
                f"{t.still_share:.0%} of the layers or of the weights, at every recorded epoch",
                m,
                {"still": len(names), "layers": len(layers)}
                | ({"weights": weights} if sizes else {}),
                names[:5],
            )


def swamping_bias(e: Evidence, t: Thresholds) -> Iterable[Finding]:
    """Report a constant part of the embeddings or scores that outweighs the differences."""
    offsets = {m: _offset(e, m) for m in e.modalities}
    for m, ratio in offsets.items():
        if ratio >= t.bias_ratio:
            yield Finding(
                "swamping_bias",
                "severe",
                f"The part that all embeddings of {m} have in common is {ratio:.0f} times as large "
                "as their differences.",
                f"mean of the embeddings >= {t.bias_ratio:g} times their spread around it",
                m,
                {"ratio": ratio, "norm": e.late(f"norm.{m}"), "spread": e.late(f"spread.{m}")},
            )
    share = e.mean([_commonest(f.predictions["fused"].probabilities) for f in e.folds])
    probes = e.mean(
        [_commonest(p) for f in e.folds for p in f.predictions["fused"].unimodal.values()]
    )
    if share >= _ONE_CLASS and probes < _ONE_CLASS and e.classes > 1:
        yield Finding(
            "swamping_bias",
            "severe",
            f"The fused model predicts the same class for {share:.0%} of the validation clips; the "
            f"probes do so for {probes:.0%}.",
            f"one class for at least {_ONE_CLASS:.0%} of the validation clips in the fused scores, "
            "but not in the probes",
            None,
            {"share": share, "probes": probes},
        )


def _offset(e: Evidence, m: str) -> float:
    """Return the smallest ratio, over epochs, of the embeddings' mean to their spread.

    A bias is present at every epoch. Embeddings whose mean grew later have a small ratio at first.
    """
    ratios: list[float] = []
    for fold in e.folds:
        pairs = zip(fold.fused.values(f"norm.{m}"), fold.fused.values(f"spread.{m}"), strict=True)
        own = [math.sqrt(max(0.0, n * n - s * s)) / s for n, s in pairs if s > 0]
        ratios.append(min(own, default=0.0))
    return e.mean(ratios)


def _commonest(probabilities: np.ndarray) -> float:
    """Return the share of clips for which the most frequent class is predicted."""
    counts = np.bincount(probabilities.argmax(axis=1))
    return float(counts.max() / counts.sum())


def scale_mismatch(e: Evidence, t: Thresholds) -> Iterable[Finding]:
    """Report inputs or embeddings of two modalities that differ in size by a large factor."""
    inputs = {
        m: math.hypot(e.inputs(m, "seen", "mean"), e.inputs(m, "seen", "std")) for m in e.modalities
    }
    # A large constant part is another fault (swamping bias). A branch with too large embeddings may
    # be dead at the end of the training. Embeddings are therefore compared after the first epoch as
    # well.
    at_first = {m: e.first(f"norm.{m}") for m in e.modalities if _offset(e, m) < t.bias_ratio}
    late = {m: e.late(f"spread.{m}") for m in e.modalities}
    for label, sizes in (
        ("inputs as the networks see them", inputs),
        ("embeddings after the first epoch", at_first),
        ("embeddings at the end of the training", late),
    ):
        positive = {m: s for m, s in sizes.items() if math.isfinite(s) and s > 0}
        # A dead branch has small embeddings as an effect of another fault. Only the branch with the
        # largest embeddings may be dead here, because too large embeddings can kill a branch.
        positive = {
            m: s
            for m, s in positive.items()
            if s == max(positive.values()) or not _is_dead(e, t, m)
        }
        ratio = max(positive.values()) / min(positive.values()) if len(positive) > 1 else 1.0
        if ratio < t.scale_ratio:
            continue
        largest = max(positive, key=positive.__getitem__)
        smallest = min(positive, key=positive.__getitem__)
        severity: Severity = "severe" if ratio >= 3 * t.scale_ratio else "moderate"
        # A branch that learns within the first epoch has large embeddings after that epoch, so
        # learning can look like a scale mismatch. The sizes of inputs do not depend on learning.
        learned = sizes is late or (sizes is at_first and severity == "moderate")
        outlier = _outlier(positive)
        if learned and e.lost < t.loss_points and not _is_dead(e, t, outlier):
            severity = "mild"
        yield Finding(
            "scale_mismatch",
            severity,
            f"The {label} are {ratio:.3g} times as large in {largest} as in {smallest} "
            f"({positive[largest]:.3g} against {positive[smallest]:.3g}).",
            f"the sizes of the {label} differ by a factor of {t.scale_ratio:g} or more",
            outlier,
            {"ratio": ratio, "learned": float(learned)}
            | {f"size.{m}": s for m, s in positive.items()},
        )
        return


def _outlier(sizes: Mapping[str, float]) -> str:
    """Return the modality farthest from the median on a log scale; the larger of two modalities."""
    logs = {m: math.log(s) for m, s in sizes.items()}
    middle = float(np.median(list(logs.values())))
    return max(sizes, key=lambda m: (round(abs(logs[m] - middle), 9), logs[m]))


def cold_start(e: Evidence, t: Thresholds) -> Iterable[Finding]:
    """Report that every branch learns far less in the joint training than when trained alone."""
    learned = _learned(e)
    if not learned or max(learned.values()) >= t.learned_share:
        return
    best = max(learned, key=learned.__getitem__)
    yield Finding(
        "cold_start",
        _by_harm(e, t, max(learned.values()) < t.learned_share / 2),
        f"In the joint training no branch learns much: the best, {best}, gains "
        f"{learned[best]:.0%} of the training UAR above chance that it gains alone, and the fused "
        f"loss makes 90% of its decrease in the first {_flat_after(e):.0%} of the epochs.",
        f"every probe's training UAR above chance is below {t.learned_share:.0%} of that of the "
        "modality trained alone",
        None,
        {f"learned.{m}": x for m, x in learned.items()} | {"flat_after": _flat_after(e)},
    )


def branch_imbalance(e: Evidence, t: Thresholds) -> Iterable[Finding]:
    """Report that one branch hardly learns while another learns or gets most of the gradient."""
    learned = _learned(e)
    norms = {m: e.mean([_median(f.fused.values(f"gradient.{m}")) for f in e.folds])
             for m in e.modalities}  # fmt: skip
    norms = {m: g for m, g in norms.items() if math.isfinite(g) and g > 0}
    ratio = max(norms.values()) / min(norms.values()) if len(norms) > 1 else 1.0
    slow = min(learned, key=learned.__getitem__) if learned else ""
    behind = bool(slow) and learned[slow] < t.learned_share <= max(learned.values())
    if not behind and ratio < t.gradient_ratio:
        return
    m = slow if behind else min(norms, key=norms.__getitem__)
    says: list[str] = []
    if behind:
        other_shares = ", ".join(f"{o} {x:.0%}" for o, x in learned.items() if o != m)
        says.append(
            f"In the joint training {m} gains {learned[m]:.0%} of the training UAR above chance "
            f"that it gains alone ({other_shares})."
        )
    if ratio >= t.gradient_ratio:
        least, most = (f(norms, key=norms.__getitem__) for f in (min, max))
        says.append(
            f"The gradient of {most} is {ratio:.3g} times as large as that of {least} "
            f"({norms[most]:.2g} against {norms[least]:.2g})."
        )
    cut_off = ratio >= 10 * t.gradient_ratio
    severity = _by_harm(e, t, cut_off or (behind and learned[m] < t.learned_share / 2))
    yield Finding(
        "branch_imbalance",
        "moderate" if cut_off and severity == "mild" else severity,
        " ".join(says),
        f"a probe's training UAR above chance is below {t.learned_share:.0%} of that of the "
        "modality trained alone while another's is not, or the median gradient norms of two "
        f"branches differ by a factor of {t.gradient_ratio:g} or more",
        m,
        {"ratio": ratio}
        | {f"learned.{o}": x for o, x in learned.items()}
        | {f"gradient.{o}": g for o, g in norms.items()},
    )


def _learned(e: Evidence) -> dict[str, float]:
    """Return training UARs above chance, joint training divided by single-modality training.

    The ratios are by modality. A modality that hardly learns alone (training UAR at most 0.1 above
    chance) is left out.
    """
    chance = 1 / e.classes
    shares: dict[str, float] = {}
    for m in e.modalities:
        joint, alone = e.late(f"train_uar.{m}") - chance, e.late_single(m, "train_uar") - chance
        if math.isfinite(joint) and alone > 0.1:
            shares[m] = max(0.0, joint / alone)
    return shares


def _flat_after(e: Evidence) -> float:
    """Return the share of the epochs in which the fused loss makes 90% of its decrease."""
    shares: list[float] = []
    for fold in e.folds:
        losses = fold.fused.values("train_loss")
        if len(losses) > 1 and losses[0] > losses[-1]:
            level = losses[0] - 0.9 * (losses[0] - losses[-1])
            first = next(i for i, loss in enumerate(losses, start=1) if loss <= level)
            shares.append(first / len(losses))
    return e.mean(shares) if shares else 0.0


def _median(values: list[float]) -> float:
    """Return the median, NaN for an empty list."""
    return float(np.median(values)) if values else math.nan


def overfitting_head(e: Evidence, t: Thresholds) -> Iterable[Finding]:
    """Report that the fused scores fit the training clips but not the validation speakers."""
    probes = {m: 100 * e.late(f"val_uar.{m}") for m in e.modalities}
    probes = {m: x for m, x in probes.items() if math.isfinite(x)}
    if len(probes) < 2:
        return
    train, val = 100 * e.late("train_uar"), 100 * e.late("val_uar")
    # The gap of a modality that some clips lack is measured on fewer clips, so prefer complete
    # modalities.
    complete = [m for m in probes if m not in e.data.absent] or list(probes)
    best = max(complete, key=probes.__getitem__)
    own_gap = max(0.0, 100 * e.late(f"train_uar.{best}") - probes[best])
    gap, lost = train - val, e.lost
    size = e.sizes.get("", 0) / max(1, sum(x for m, x in e.sizes.items() if m))
    costs = gap - own_gap >= t.gap_points and lost >= t.loss_points
    too_large = gap >= 2 * t.gap_points and size >= t.head_ratio
    if not costs and not too_large:
        return
    says = (
        f"The fused scores reach {train:.1f} UAR on the training clips and {val:.1f} on "
        f"validation, a gap of {gap:.1f} points; the best probe ({best}) has one of {own_gap:.1f}."
    )
    if lost > 0:
        says += f" A single modality or probe reaches {val + lost:.1f} on validation."
    if too_large:
        says += f" The head has {size:.0f} times as many weights as all branches together."
    yield Finding(
        "overfitting_head",
        ("severe" if lost >= t.loss_points else "moderate")
        if too_large
        else _by_size(lost, severe=10, moderate=6),
        says,
        f"a gap at least {t.gap_points:g} points above the best probe's, and at least "
        f"{t.loss_points:g} points lost on validation against the best probe or single modality; "
        f"or a gap of {2 * t.gap_points:g} points or more with a head of at least "
        f"{t.head_ratio:g} times the weights of all branches",
        None,
        {"train": train, "val": val, "gap": gap, "probe_gap": own_gap, "lost": lost, "size": size,
         "too_large": float(too_large)},
    )  # fmt: skip


def _by_harm(e: Evidence, t: Thresholds, far: bool) -> Severity:
    """Return the severity; mild if the fused scores lose fewer than `loss_points`."""
    if e.lost < t.loss_points:
        return "mild"
    return "severe" if far else "moderate"


def _by_size(points: float, *, severe: float, moderate: float) -> Severity:
    """Return the severity for a loss of `points`, given the limits of two severities."""
    return "severe" if points >= severe else "moderate" if points >= moderate else "mild"


def measured(e: Evidence) -> dict[str, dict[str, float]]:
    """Return figures by modality and name, means over folds; ``""`` is the fused model."""
    figures = signs_of(e)
    for m, share in _learned(e).items():
        figures[m]["learned"] = share
    for m in e.modalities:
        figures[m]["bias_ratio"] = _offset(e, m)
    return figures
