"""The ladder of ``fusion repair``: from pretrained branches to the ensemble."""

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


class Pretrained(Remedy):
    """Branches start where the modalities trained alone ended, and take a tenth of the steps.

    When to use
    -----------
    Branches that learn less together than alone: a cold start, a branch that is left behind.
    """

    name = "pretrained"
    order = 10
    mends = ("cold_start", "branch_imbalance")
    balancers = ("pretrain",)


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


class Adaptive(Remedy):
    """Gated fusion: each clip decides how much each modality counts.

    When to use
    -----------
    One modality reads less than it could; wrong labels.
    """

    name = "adaptive"
    order = 30
    mends = ("architecture_imbalance", "label_noise")
    strategy = "gated"


class Balanced(Remedy):
    """Gradient balancing: the branches take steps by how far each has come.

    When to use
    -----------
    One branch learns and another stands still.
    """

    name = "balanced"
    order = 40
    mends = ("branch_imbalance",)
    balancers = ("gradscale",)


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


class Averaged(Remedy):
    """Late fusion: each modality classifies, weighted on validation.

    When to use
    -----------
    Where one modality is of no use, and as the last step.
    """

    name = "averaged"
    order = 70
    mends = ("mispaired", "dead_branch", "label_noise")
    strategy = "ensemble"


@hookimpl
def fusion_remedies() -> list[type[Remedy]]:
    return [Rebuilt, Pretrained, Levelled, Adaptive, Balanced, Joined, Corrected, Averaged]
