"""Base class of balancers, which change the joint training of the branches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from torch import Tensor

from .data import Plugin
from .gradients import Gradients, ParameterGroup
from .renamed import renamed
from .step import Clips, Context, Pass, Stage, Step

if TYPE_CHECKING:
    from .networks import Strategy

# Parts of a training that at most one balancer may decide.
Domain = Literal[
    "clips",  # the clips of an epoch
    "start",  # the weights that the branches start from
    "stages",  # the parts of the model that are trained in an epoch
    "passes",  # the number of passes over a batch, and the modalities of each
    "representations",  # the inputs of the strategy
    "logits",  # the fused scores in training
    "fused_loss",  # the loss of the fused scores
    "unimodal_losses",  # whether and how the single-modality losses reach the branches
    "gradients",  # how several losses become one gradient
    "head",  # a network that replaces or extends the strategy
]


class Balancer(Plugin):
    """Change to the joint training of the branches; every method is optional.

    The training loop calls

    - :meth:`adapt` when the model is made,
    - :meth:`setup` and :meth:`parameter_groups` before the first epoch,
    - :meth:`stage`, :meth:`clips` and :meth:`epoch_start` before every epoch,
    - :meth:`inputs`, :meth:`present` and :meth:`passes` at the start of every step,
    - :meth:`representations`, :meth:`logits`, :meth:`losses` and :meth:`gradients` in every pass
      of a step (usually one pass),
    - :meth:`step_end` at the end of every step,
    - :meth:`metrics` and :meth:`epoch_end` after every epoch.

    Several balancers are called in the order in which the user named them. Each balancer receives
    the result of the previous balancer. `takes_over` lists the domains (parts of a training) that
    a balancer must decide alone.

    Attributes
    ----------
    takes_over : tuple of str
        Domains that this balancer decides alone: ``"clips"``, ``"start"`` (the model then starts
        untrained unless the balancer sets its weights), ``"stages"``, ``"passes"``,
        ``"representations"``, ``"logits"``, ``"fused_loss"``, ``"unimodal_losses"``,
        ``"gradients"``, ``"head"``. Two balancers with the same domain are rejected before
        training.
    separate : bool
        Whether the balancer reads the gradient of each loss (:meth:`Gradients.part`). All losses
        then share the forward pass, and each has its own backward pass.
    needs_baselines : bool
        Whether the balancer reads the single-modality models, which are then trained first.
    reads_validation : bool
        Whether the balancer learns from the labels of the validation clips, or from scores on
        these clips. The validation score is then optimistic, and comparisons mark the balancer.
    control : bool
        Whether every comparison includes the balancer as a control: a simple method that every
        other method should beat.
    checkpointed : tuple of str
        Names of the attributes that :meth:`state_dict` stores for a resumed training: tensors,
        numbers, strings, lists and dicts.
    """

    takes_over: ClassVar[tuple[Domain, ...]] = ()
    separate: ClassVar[bool] = False
    needs_baselines: ClassVar[bool] = False
    reads_validation: ClassVar[bool] = False
    control: ClassVar[bool] = False
    checkpointed: ClassVar[tuple[str, ...]] = ()

    # -- before training ---------------------------------------------------------------

    def adapt(self, strategy: Strategy, dims: Mapping[str, int]) -> Strategy:
        """Change or wrap the strategy; the result is trained, stored and used for predictions.

        This method is called when a model is built, also for predictions. `dims` is the argument
        of the strategy: the size of the embedding, or the number of channels, by modality.

        Raises
        ------
        ParameterError
            If this strategy can't be adapted.
        """
        return strategy

    def setup(self, context: Context) -> None:
        """Check that this balancer suits the training, and reset its state.

        This method is called once on an untrained model while the request is checked, and once at
        the start of training, before a checkpoint's state is loaded.

        Raises
        ------
        ParameterError
            If the balancer can't work in this training.
        """

    @property
    def acts_from(self) -> int:
        """First epoch, from 1, in which the balancer has an effect.

        fusion warns of a training that ends before this epoch.
        """
        return 1

    def parameter_groups(self, groups: list[ParameterGroup]) -> list[ParameterGroup]:
        """Change the learning rates or weight decay of parameter groups, or split groups."""
        return groups

    # -- before an epoch ---------------------------------------------------------------

    def stage(self, epoch: int) -> Stage | None:
        """Return the parts of the model to train in this epoch (from 1), or None for all.

        If several balancers return a stage, the first stage is used.
        """
        return None

    def clips(self, clips: Clips, epoch: int) -> Clips:
        """Change the clips of the epoch.

        If the result has more clips than the training part, a random subset with the size of the
        training part is used. The number of steps of an epoch therefore never grows.
        """
        return clips

    def epoch_start(self, epoch: int) -> None:
        """Prepare for an epoch; called before its first step."""

    # -- a step ------------------------------------------------------------------------

    def inputs(self, inputs: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        """Change the inputs of the branches, (B, *shape) by modality."""
        return inputs

    def present(self, present: Tensor, step: Step) -> Tensor:
        """Change the table (B, M) bool of the modalities that the strategy may see of each clip."""
        return present

    def passes(self, step: Step) -> list[Pass] | None:
        """Return several passes over the batch, with different modalities; None means one pass.

        Each pass has its own loss, backward pass and optimiser step. The optimiser does not
        change parameters that got no gradient.
        """
        return None

    def representations(self, representations: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        """Change the inputs of the strategy, by modality: detach, mask, replace or extend them.

        The inputs are embeddings (B, D), or maps (B, C_m, *grid_m) if the strategy takes maps. The
        probes and :attr:`Step.embeddings` use the unchanged outputs of the branches.
        """
        return representations

    embeddings = renamed("representations", gone_in=2)  # from when strategies took embeddings only

    def logits(self, logits: Tensor, step: Step) -> Tensor:
        """Change the fused scores (B, C) in training."""
        return logits

    def losses(self, losses: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        """Change the losses (scalars by name) of branches and head; training minimises the sum.

        The first balancer receives ``{"fused": step.fused_loss}``. A single-modality loss is
        called ``"unimodal.<modality>"``. The name of any other loss starts with the balancer's
        name. The probes are trained on separate losses, which no balancer changes.
        """
        return losses

    def gradients(self, gradients: Gradients, step: Step) -> None:
        """Change the gradients of the branches, after backward and before clipping.

        ``gradients.modalities`` contains only the branches that have a gradient. The method is
        not called if no branch has a gradient.
        """

    def step_end(self, step: Step) -> None:
        """Update the balancer's state; called after the last optimiser step of each step."""

    # -- after an epoch ----------------------------------------------------------------

    def epoch_end(self, epoch: int, metrics: Mapping[str, Any]) -> None:
        """Receive the epoch's `metrics`, as in the run directory; called after validation."""

    def metrics(self) -> dict[str, float]:
        """Return figures to record for the epoch, e.g. the coefficient of each modality."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a resumed training needs: tensors, numbers, strings, lists, dicts.

        The default returns the attributes in `checkpointed`. Each key is the attribute's name
        without leading and trailing underscores.
        """
        return {name.strip("_"): _copied(getattr(self, name)) for name in self.checkpointed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state that :meth:`state_dict` returned; called after :meth:`setup`."""
        for name in self.checkpointed:
            setattr(self, name, _copied(state[name.strip("_")]))


def _copied(value: Any) -> Any:
    """Copy nested dicts and lists, which training changes in place, but not their other values."""
    if isinstance(value, dict):
        return {name: _copied(part) for name, part in value.items()}
    return [_copied(part) for part in value] if isinstance(value, list) else value
