"""What balancers see of a training, and where they may change it."""

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

# What two balancers can't both decide.
Domain = Literal[
    "clips",  # which clips an epoch has
    "start",  # which weights the branches start from
    "stages",  # what is trained when
    "passes",  # how often a batch is gone through, with which modalities
    "representations",  # what the strategy receives of the modalities
    "logits",  # the fused scores in training
    "fused_loss",  # what the fused scores are trained with
    "unimodal_losses",  # whether and how the single-modality losses reach the branches
    "gradients",  # how several losses become one gradient
    "head",  # another network in place of the strategy, or inside it
]


class Balancer(Plugin):
    """Changes how the branches are trained together. Every method is optional.

    The engine calls

    - :meth:`adapt` when the model is made,
    - :meth:`setup` and :meth:`parameter_groups` before the first epoch,
    - :meth:`stage`, :meth:`clips` and :meth:`epoch_start` before every epoch,
    - in every step :meth:`inputs`, :meth:`present` and :meth:`passes`, and in every pass of it
      (mostly one) :meth:`representations`, :meth:`logits`, :meth:`losses`,
      :meth:`gradients`; then :meth:`step_end`,
    - :meth:`metrics` and :meth:`epoch_end` after every epoch.

    Several balancers are called in the order in which they were named, each seeing what the one
    before it left. What only one can decide, a balancer names in `takes_over`.

    Attributes
    ----------
    takes_over : tuple of str
        Domains that this balancer decides alone: ``"clips"``, ``"start"`` (training then starts
        untrained unless the balancer starts it otherwise), ``"stages"``, ``"passes"``,
        ``"representations"``, ``"logits"``, ``"fused_loss"``, ``"unimodal_losses"``,
        ``"gradients"``, ``"head"``. Two balancers that name the same one are refused before
        training.
    separate : bool
        Whether it reads the gradient of each loss (:meth:`Gradients.part`). The forward pass is
        shared; every loss has a backward pass of its own.
    needs_baselines : bool
        Whether it reads the trained single-modality models; they are then trained first.
    reads_validation : bool
        Whether it learns from the labels of the validation clips, or from scores on them: its
        validation score is then flattered. Comparisons mark it.
    control : bool
        Whether every comparison includes it, because what does not beat it is worth little.
    checkpointed : tuple of str
        Attributes that a resumed training needs, for :meth:`state_dict`: tensors, numbers, strings,
        lists and dicts.
    """

    takes_over: ClassVar[tuple[Domain, ...]] = ()
    separate: ClassVar[bool] = False
    needs_baselines: ClassVar[bool] = False
    reads_validation: ClassVar[bool] = False
    control: ClassVar[bool] = False
    checkpointed: ClassVar[tuple[str, ...]] = ()

    # -- before training ---------------------------------------------------------------

    def adapt(self, strategy: Strategy, dims: Mapping[str, int]) -> Strategy:
        """Change the strategy, or wrap it: what is trained, stored and handed out.

        Called whenever the model is made, for predictions too. `dims` is what the strategy was
        made with: modality -> size of its embedding or channels of its maps.

        Raises
        ------
        ParameterError
            If this strategy can't be adapted.
        """
        return strategy

    def setup(self, context: Context) -> None:
        """Check that this balancer can work here (or raise ParameterError), and start afresh.

        Called once on an untrained model before the long work starts, and once in training,
        before a checkpoint's state is loaded.
        """

    @property
    def acts_from(self) -> int:
        """First epoch, from 1, in which the rule does anything: a shorter training is warned of."""
        return 1

    def parameter_groups(self, groups: list[ParameterGroup]) -> list[ParameterGroup]:
        """Change learning rates or weight decay, or split groups."""
        return groups

    # -- before an epoch ---------------------------------------------------------------

    def stage(self, epoch: int) -> Stage | None:
        """What is trained in this epoch (from 1); None leaves it open."""
        return None

    def clips(self, clips: Clips, epoch: int) -> Clips:
        """Change which clips the epoch goes through.

        It takes no more steps than ever: of more clips than there were, a random part is taken.
        """
        return clips

    def epoch_start(self, epoch: int) -> None:
        """Before the first step of an epoch."""

    # -- a step ------------------------------------------------------------------------

    def inputs(self, inputs: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        """Change the batch, modality -> (B, *shape), before the branches."""
        return inputs

    def present(self, present: Tensor, step: Step) -> Tensor:
        """Change which modalities of each clip the strategy sees: (B, M) bool."""
        return present

    def passes(self, step: Step) -> list[Pass] | None:
        """Go through the batch several times, with other modalities; None leaves it at once.

        Each pass has its own loss, backward pass and step of the optimiser, which leaves what
        got no gradient as it was.
        """
        return None

    def representations(self, representations: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        """Change what the strategy receives, by modality: detach, mask, replace, add to it.

        Embeddings (B, D), or maps (B, C_m, *grid_m) where the strategy takes those. The probes
        and :attr:`Step.embeddings` have what the branches made.
        """
        return representations

    embeddings = renamed("representations", gone_in=2)  # when strategies took nothing else

    def logits(self, logits: Tensor, step: Step) -> Tensor:
        """Change the fused scores (B, C) in training."""
        return logits

    def losses(self, losses: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        """Change the losses of the branches and the head: name -> scalar; their sum counts.

        It starts with ``{"fused": step.fused_loss}``. A single-modality loss is called
        ``"unimodal.<modality>"``; anything else starts with the balancer's name. The probes are
        trained on losses of their own, which no balancer changes.
        """
        return losses

    def gradients(self, gradients: Gradients, step: Step) -> None:
        """Change the gradients of the branches, after backward and before clipping.

        Not called where no branch has any; a branch that has none is not among
        ``gradients.modalities``.
        """

    def step_end(self, step: Step) -> None:
        """After the optimiser's step."""

    # -- after an epoch ----------------------------------------------------------------

    def epoch_end(self, epoch: int, metrics: Mapping[str, Any]) -> None:
        """After validation; `metrics` are the epoch's, as written to the run directory."""

    def metrics(self) -> dict[str, float]:
        """Numbers worth a curve, e.g. the coefficient of each modality; written each epoch."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Everything a resumed training needs: tensors, numbers, strings, lists and dicts.

        By default the attributes in `checkpointed`, under their names without underscores.
        """
        return {name.strip("_"): _copied(getattr(self, name)) for name in self.checkpointed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what :meth:`state_dict` returned, after :meth:`setup`."""
        for name in self.checkpointed:
            setattr(self, name, _copied(state[name.strip("_")]))


def _copied(value: Any) -> Any:
    """Copy dicts and lists, which change as a training goes on, and not what they hold."""
    if isinstance(value, dict):
        return {name: _copied(part) for name, part in value.items()}
    return [_copied(part) for part in value] if isinstance(value, list) else value
