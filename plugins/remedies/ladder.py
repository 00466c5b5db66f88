"""Remedies of ``fusion repair``, ordered from a new branch to late fusion."""

from __future__ import annotations

from ...core.contracts import Patient, Prescription, Remedy, hookimpl


class Rebuilt(Remedy):
    """Replacement of a faulty branch by the branch that the modality's extractor prefers.

    The baseline of the modality is trained again. The remedy does not apply if the preferred
    branch is in use already.

    When to use
    -----------
    For a dead, frozen or swamped branch, or a branch that predicts worse than a linear classifier.
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
    """Fused model whose branches start with the weights of the single-modality baselines.

    The learning rate of the branches is a tenth of that of the head. The initial model, epoch 0,
    can be selected on validation like every later epoch. The remedy does not apply if the branches
    start from the baselines already.

    When to use
    -----------
    If joint training from scratch holds a branch back, has a cold start, or trains only one branch.
    """

    name = "started"
    order = 10
    mends = ("held_back", "cold_start", "branch_imbalance", "unexplained")
    settings = {"train": {"start": "baselines"}}  # noqa: RUF012

    def prescribe(self, patient: Patient) -> Prescription | None:
        pretrained = patient.from_baselines or "pretrain" in patient.balancers
        return None if pretrained else super().prescribe(patient)


class Adaptive(Remedy):
    """Gated fusion with held-out gates: validation clips determine the modality weights.

    When to use
    -----------
    For a modality with more weight than its accuracy justifies, a head that was trained on
    memorised clips, a branch that extracts less information than it could, or wrong labels.
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
    """Joint training for all epochs from the baselines' branches, with a tenth of the step size.

    The remedy *started*, in contrast, trains for a quarter of the epochs. The remedy *pretrained*
    does not apply if the branches start from the baselines already.

    When to use
    -----------
    If branches learn less together than alone: after a cold start, or if a branch falls behind.
    """

    name = "pretrained"
    order = 18
    mends = ("held_back", "cold_start", "branch_imbalance")
    balancers = ("pretrain",)

    def prescribe(self, patient: Patient) -> Prescription | None:
        pretrained = patient.from_baselines or "pretrain" in patient.balancers
        return None if pretrained else super().prescribe(patient)


class Levelled(Remedy):
    """Normalised inputs and embeddings, and a head with batch normalisation and dropout.

    When to use
    -----------
    For inputs that differ strongly in scale, a large constant offset, or a head that overfits.
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
    """Gradient balancing by progress: a branch that learns slowly takes larger steps.

    Branches that start from their baselines have little left to learn. The remedy does not apply to
    such branches, except in a run that already uses `gradscale`.

    When to use
    -----------
    If one branch learns while another does not.
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
    """Early fusion: feature maps are fused instead of embeddings.

    When to use
    -----------
    If the class depends on how the modalities vary together in time and position.
    """

    name = "joined"
    order = 50
    strategy = "early"


class Corrected(Remedy):
    """Residual fusion: the best single modality plus a correction that starts at zero.

    When to use
    -----------
    For a head that overfits, a faulty branch, or clips whose modalities do not belong together.
    """

    name = "corrected"
    order = 60
    mends = ("dead_branch", "frozen_branch", "mispaired", "overfitting_head")
    strategy = "residual"
    balancers = ("lr",)
    settings = {"lr": {"branch": 0.1}}  # noqa: RUF012

    def prescribe(self, patient: Patient) -> Prescription | None:
        if patient.from_baselines:  # the branches have a tenth of the learning rate already
            in_use = patient.strategy == self.strategy
            return None if in_use else Prescription(self.strategy)
        return super().prescribe(patient)


class Averaged(Remedy):
    """Late fusion: each modality classifies, with weights fitted on validation.

    When to use
    -----------
    For a modality that carries no information. This remedy is the last in the order of the
    remedies.
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
