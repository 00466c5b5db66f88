"""The ladder of ``fusion repair``: from a start at the baselines to the ensemble."""

from __future__ import annotations

from ...core.contracts import Patient, Prescription, Remedy, hookimpl


class Rebuilt(Remedy):
    """Another branch for a modality whose own does not work: the one that its extractor names.

    Its baseline is trained again. Nothing to offer where the branch already is that one.

    When to use
    -----------
    A dead, frozen or swamped branch; one that reads less than a linear classifier.
    """

    name = "rebuilt"
    order = 5
    mends = ("dead_branch", "frozen_branch", "swamping_bias", "architecture_imbalance")

    def prescribe(self, patient: Patient) -> Prescription | None:
        broken = {f.modality for f in patient.faults if f.fault in self.mends}
        branches = {
            m: preferred
            for m, preferred in patient.preferred.items()
            if m in broken and patient.branches[m] != preferred
        }
        return Prescription(branches=branches) if branches else None


class Started(Remedy):
    """Start the fused model from the baselines: every branch knows what it knows alone.

    The branches then take a tenth of the steps. The model as it starts, epoch 0, competes on
    validation. Nothing to offer where the branches start from the baselines already.

    When to use
    -----------
    Joint training from scratch holds a branch back, begins cold, or teaches one branch alone.
    """

    name = "started"
    order = 10
    mends = ("held_back", "cold_start", "branch_imbalance", "unexplained")
    settings = {"train": {"start": "baselines"}}  # noqa: RUF012

    def prescribe(self, patient: Patient) -> Prescription | None:
        begun = patient.from_baselines or "pretrain" in patient.balancers
        return None if begun else super().prescribe(patient)


class Adaptive(Remedy):
    """Gated fusion with held-out gates: validation clips decide how much each modality counts.

    When to use
    -----------
    A modality counts for more than it knows; a head that learned on memorised clips; one
    modality reads less than it could; wrong labels.
    """

    name = "adaptive"
    order = 15
    mends = (
        "misplaced_trust", "memorised_head", "architecture_imbalance", "label_noise",
        "unexplained",
    )  # fmt: skip
    strategy = "gated"
    settings = {"gated": {"gate": "held_out"}}  # noqa: RUF012


class Pretrained(Remedy):
    """Branches start from the baselines and take a tenth of the steps, for all epochs.

    *started* trains for a quarter of the epochs. Nothing to offer where the branches start from
    the baselines already.

    When to use
    -----------
    Branches that learn less together than alone: a cold start, a branch that is left behind.
    """

    name = "pretrained"
    order = 18
    mends = ("held_back", "cold_start", "branch_imbalance")
    balancers = ("pretrain",)

    def prescribe(self, patient: Patient) -> Prescription | None:
        begun = patient.from_baselines or "pretrain" in patient.balancers
        return None if begun else super().prescribe(patient)


class Levelled(Remedy):
    """Normalised inputs and embeddings; a head with batch normalisation and dropout.

    When to use
    -----------
    Scales far apart, a constant that swamps, a head that over-fits.
    """

    name = "levelled"
    order = 20
    mends = ("scale_mismatch", "swamping_bias", "overfitting_head")
    strategy = "normalised"
    settings = {  # noqa: RUF012
        "train": {"normalise": "feature"},
        "normalised": {"hidden": 64, "dropout": 0.5},
    }


class Balanced(Remedy):
    """Gradient balancing by progress: a branch that learns slowly takes longer steps.

    Branches that start from their baselines have little left to learn. There is nothing to offer
    for them, except to a run that balances gradients by their norms.

    When to use
    -----------
    One branch learns and another stands still.
    """

    name = "balanced"
    order = 40
    mends = ("branch_imbalance", "held_back")
    balancers = ("gradscale",)
    settings = {"gradscale": {"mode": "progress"}}  # noqa: RUF012

    def prescribe(self, patient: Patient) -> Prescription | None:
        if patient.from_baselines and "gradscale" not in patient.balancers:
            return None
        return super().prescribe(patient)


class Joined(Remedy):
    """Early fusion: feature maps are joined, not embeddings.

    When to use
    -----------
    Where what matters lies in how the modalities go together in time and place.
    """

    name = "joined"
    order = 50
    strategy = "early"


class Corrected(Remedy):
    """Residual fusion: the best single modality, and a correction that starts at nothing.

    When to use
    -----------
    A head that over-fits, a branch that is broken, modalities that do not belong together.
    """

    name = "corrected"
    order = 60
    mends = ("dead_branch", "frozen_branch", "mispaired", "overfitting_head")
    strategy = "residual"
    balancers = ("lr",)
    settings = {"lr": {"branch": 0.1}}  # noqa: RUF012

    def prescribe(self, patient: Patient) -> Prescription | None:
        if patient.from_baselines:  # the branches take a tenth of the steps already
            same = patient.strategy == self.strategy
            return None if same else Prescription(self.strategy)
        return super().prescribe(patient)


class Averaged(Remedy):
    """Late fusion: each modality classifies, weighted on validation.

    When to use
    -----------
    Where one modality is of no use, and as the last step.
    """

    name = "averaged"
    order = 70
    mends = ("mispaired", "dead_branch", "label_noise", "misplaced_trust", "memorised_head")
    strategy = "ensemble"


@hookimpl
def fusion_remedies() -> list[type[Remedy]]:
    return [
        Rebuilt, Started, Adaptive, Pretrained, Levelled, Balanced, Joined, Corrected, Averaged,
    ]  # fmt: skip
