"""Where the rules draw their lines."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ...contracts.errors import ParameterError


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Where the rules of the diagnosis draw their lines; docs/diagnosis.md says why there.

    Set with ``fusion diagnose --set diagnosis.NAME=VALUE``.

    Parameters
    ----------
    scale_ratio : float
        Scale mismatch: inputs (as the branches see them) or embeddings of two modalities differ
        by this factor in their spread.
    bias_ratio : float
        A bias that swamps: the mean of the embeddings is this many times their spread around it.
    dead_rank : float
        Dead branch: its embeddings have an effective rank below this share of their size.
    still_share : float
        Frozen branch: this share of a branch's weights never moves.
    still_update : float
        What counts as never moving: a relative change per step below this.
    gradient_ratio : float
        Branch imbalance: gradient norms of two branches differ by this factor.
    learned_share : float
        Cold start, branch imbalance: a branch has learned less than this share, in the joint
        training, of what it learned alone (train UAR above chance).
    gap_points : float
        Over-fitting head: the gap between training and validation UAR of the fused scores is so
        many points above that of the best probe.
    loss_points : float
        Over-fitting head: and on validation they are so many points below the best single
        modality or the best probe.
    head_ratio : float
        Over-fitting head: or, with a gap twice as large, the head has so many times the weights
        of all branches together.
    held_points : float
        Held-back branch: on validation the probe of a modality inside the fused model is so many
        points below the modality trained alone.
    held_p : float
        And with a p-value below this (paired test over speakers; over clips where there are
        fewer than six speakers).
    trust_share : float
        Misplaced trust: the share of a modality in the fused scores is so far above its share in
        the pool of the probes that is fitted to held-out speakers.
    memorised : float
        Memorised head: training UAR of the fused scores, and of at least one probe.
    pool_points : float
        Misplaced trust, memorised head: and the fused scores are so many points below that pool.
    behind_points : float
        Unexplained: the fused model is so many points below the best single modality on
        validation. The findings about the fusion are above mild from here on.
    linear_points : float
        Architecture imbalance: a modality alone is so many points below a linear classifier on
        the same features, on validation.
    unfitted_points : float
        Or its branch fits its training clips so many points less well than a linear classifier
        does clips that it has not seen.
    linear_p : float
        And with a p-value below this (exact sign test on the clips on which they differ).
    paired_share : float
        Mispaired: more than this share of the clips can't be told from randomly paired ones.
    noise_share : float
        Label noise: so many of the most confident predictions on validation are wrong.
    duplicate_share : float
        Duplicated clips: more than this share of the clips is severe; any is reported.
    fewest_steps : float
        Trainings of fewer steps are not judged: their branches have hardly begun.
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
    fewest_steps: float = 100

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                value = getattr(self, field.name)
                raise ParameterError(f"diagnosis.{field.name} must be above 0, and is {value}.")
