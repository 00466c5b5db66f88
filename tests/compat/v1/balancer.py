# Never edit: written against contract version 1. What breaks here breaks the plugins of others.
"""A balancer that has every method of the contract."""

import torch

from fusion import Balancer, Clips, ParameterError, Pass, Stage, hookimpl


class Everything(Balancer):
    """Does next to nothing, everywhere.

    Parameters
    ----------
    rate : float
        Factor on the branches' steps.
    """

    name = "v1_everything"

    def __init__(self, *, rate: float = 0.9) -> None:
        if rate <= 0:
            raise ParameterError(f"v1_everything.rate must be over 0, and was given {rate}.")
        self.rate = rate
        self.steps = 0

    def adapt(self, strategy, dims):
        return strategy

    def setup(self, context):
        assert context.modalities == list(context.model.branches)
        self.steps = 0

    @property
    def acts_from(self):
        return 1

    def parameter_groups(self, groups):
        for group in groups:
            if group.role == "head":
                group.weight_decay = 0.0
        return groups

    def stage(self, epoch):
        return Stage("all") if epoch == 1 else None

    def clips(self, clips, epoch):
        return Clips(clips.indices, clips.present)

    def epoch_start(self, epoch):
        self.epoch = epoch

    def inputs(self, inputs, step):
        return {m: x * 1.0 for m, x in inputs.items()}

    def present(self, present, step):
        return present.clone()

    def passes(self, step):
        return [Pass(), Pass((step.modalities[0],))] if step.index == 0 else None

    def representations(self, representations, step):
        return {m: x + 0.0 for m, x in representations.items()}

    def logits(self, logits, step):
        return logits / 1.0

    def losses(self, losses, step):
        m = step.modalities[0]
        return {**losses, f"unimodal.{m}": 0.1 * step.unimodal_loss(m)}

    def gradients(self, gradients, step):
        for m in gradients.modalities:
            gradients.scale(m, self.rate)

    def step_end(self, step):
        assert torch.is_tensor(step.logits)
        self.steps += 1

    def epoch_end(self, epoch, metrics):
        assert metrics["epoch"] == epoch == self.epoch

    def metrics(self):
        return {"v1_everything.steps": float(self.steps)}

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, state):
        self.steps = state["steps"]


@hookimpl
def fusion_balancers():
    return [Everything]
