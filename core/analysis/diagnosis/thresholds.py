"""Thresholds of the diagnosis rules."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ...contracts.errors import ParameterError


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Thresholds of the diagnosis rules (docs/reference/diagnosis.md has the reasons).

    The option ``fusion diagnose --set diagnosis.NAME=VALUE`` sets a threshold. In the descriptions,
    "this" is the value of the threshold.

    Parameters
    ----------
    scale_ratio : float
        Scale mismatch: the sizes of the inputs (as the branches see them) or of the embeddings of
        two modalities differ by this factor or more.
    bias_ratio : float
        Swamping bias: the mean of the embeddings is at least this many times the spread around the
        mean.
    dead_rank : float
        Dead branch: the effective rank of its embeddings is at most 1, or at most this share of the
        embedding size.
    still_share : float
        Frozen branch: at least this share of a branch's layers or weights never moves.
    still_update : float
        Frozen branch: a layer counts as not moving if its relative change per step is below this.
    gradient_ratio : float
        Branch imbalance: the median gradient norms of two branches differ by this factor or more.
    learned_share : float
        Cold start, branch imbalance: the training UAR above chance of a branch in the joint
        training is below this share of the training UAR above chance of the modality trained alone.
    gap_points : float
        Over-fitting head: the gap between training and validation UAR of the fused scores exceeds
        the gap of the best probe by at least this many points.
    loss_points : float
        Over-fitting head: in addition, the fused scores are at least this many points below the
        best single modality or the best probe on validation. With a smaller loss, most findings
        of scale mismatch, cold start and branch imbalance are mild.
    head_ratio : float
        Over-fitting head: alternatively, the gap is at least twice `gap_points` and the head has
        at least this many times the weights of all branches together.
    held_points : float
        Branch held back: the probe of a modality inside the fused model is at least this many
        points below the modality trained alone, on validation.
    held_p : float
        Branch held back: in addition, the p-value of that difference is below this (paired test
        over speakers, or over clips with fewer than six speakers).
    trust_share : float
        Misplaced trust: the share of a modality in the fused scores exceeds its share in the pool
        of the probes, fitted to held-out speakers, by at least this much.
    memorised : float
        Memorised head: the training UAR of the fused scores and of at least one probe reaches
        this (0 to 1).
    pool_points : float
        Misplaced trust, memorised head: in addition, the fused scores are at least this many
        points below the pool of the probes.
    behind_points : float
        Unexplained loss: the fused model is at least this many points below the best single
        modality on validation. With a smaller loss, findings of branch held back, misplaced trust
        and memorised head are mild.
    linear_points : float
        Architecture imbalance: a modality alone is at least this many points below a linear
        classifier on the same features, on validation.
    unfitted_points : float
        Architecture imbalance: alternatively, the UAR of the branch on its own training clips is at
        least this many points below the cross-validated UAR of a linear classifier on the same
        clips.
    linear_p : float
        Architecture imbalance: the p-value for `linear_points` is below this (exact sign test on
        the clips that exactly one of branch and linear classifier predicts correctly).
    paired_share : float
        Mispaired modalities: more than this share of the clips can't be distinguished from randomly
        paired clips.
    noise_share : float
        Label noise: at least this share of the most confident predictions on validation is wrong.
    duplicate_share : float
        Duplicated clips: copies of more than this share of the clips are a severe fault; any copy
        is reported. Copies with different labels or in two parts of a split are always severe.
    silent_peak : float
        Silent or constant recordings: no sample is further than this from the mean,
        relative to full scale.
    constant_part : float
        Constant parts: at least this share of a recording consists of stretches of 50 ms or more
        with equal samples.
    clipped_part : float
        Clipped recordings: more than this share of the samples of a recording is at full scale.
    signal_share : float
        Silent or constant recordings: more than this share of the recordings is a severe
        fault, a tenth of it moderate. Constant parts and clipped recordings are moderate at most.
    fewest_steps : float
        Trainings with fewer steps than this are judged only by their data, because their branches
        have hardly learned.
    """

    scale_ratio: float = 10.0
    bias_ratio: float = 5.0
    dead_rank: float = 0.05
    still_share: float = 0.5
    still_update: float = 1e-7
    gradient_ratio: float = 30.0
    learned_share: float = 0.5
    gap_points: float = 10.0
    loss_points: float = 3.0
    head_ratio: float = 5.0
    held_points: float = 5.0
    held_p: float = 0.05
    trust_share: float = 0.2
    memorised: float = 0.9
    pool_points: float = 3.0
    behind_points: float = 3.0
    linear_points: float = 8.0
    unfitted_points: float = 3.0
    linear_p: float = 0.01
    paired_share: float = 0.3
    noise_share: float = 0.3
    duplicate_share: float = 0.05
    silent_peak: float = 0.001
    constant_part: float = 0.5
    clipped_part: float = 0.001
    signal_share: float = 0.1
    fewest_steps: float = 100

    def __post_init__(self) -> None:
        """Raise ParameterError if a threshold is not above 0."""
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                value = getattr(self, field.name)
                raise ParameterError(f"diagnosis.{field.name} must be above 0, and is {value}.")
