"""One step of training: forward, losses, gradients, the optimiser, and the balancers between."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ..contracts import Balancer, Clips, Gradients, Pass, Step
from ..data.features import Features
from ..toolkit.device import on_device
from . import return_checks
from .augment import augment
from .averaging import WeightAverage
from .context import TrainingContext, shown
from .finite import FiniteCheck
from .hardware.cuda_graphs import Graphs
from .optim import Optimizer
from .recorder import Recorder

FUSED = "fused"  # the name of the loss of the fused scores


class Stepper:
    """Carries out the steps of one training.

    Parameters
    ----------
    context : TrainingContext
        Model and settings.
    features : Features
        Where the clips are taken from.
    balancers : sequence of Balancer
        Called in this order.
    optimizer, average
        Moved on with every step.
    recorder : Recorder, optional
        Shown every step of the optimiser.
    """

    def __init__(
        self,
        context: TrainingContext,
        features: Features,
        balancers: Sequence[Balancer],
        optimizer: Optimizer,
        average: WeightAverage,
        recorder: Recorder | None = None,
    ) -> None:
        self.context = context
        self.model = context.model
        self.features = features
        self.balancers = balancers
        self.optimizer = optimizer
        self.average = average
        self.recorder = recorder
        self.graphs = Graphs.wanted(context.config, features.device)
        self.finite = FiniteCheck(context.config, features.device)
        self.separate = any(b.separate for b in balancers)
        # A look at the tensor would wait for the device: asked of the classes instead.
        self.absences = any(
            type(b).present is not Balancer.present or type(b).clips is not Balancer.clips
            for b in balancers
        )

    def step(self, epoch: int, index: int, clips: Clips, generator: torch.Generator) -> Step:
        """Step `index` (from 0) of the training.

        Returns it; its `logits` and `fused_loss` are the mean of the passes'.
        """
        raw, labels = self.features.batch(clips.indices)
        presence = self.features.presence(clips.indices)
        present = shown(clips.present, labels, len(self.model.modalities), presence)
        step = Step(self.context, epoch, index, labels, generator, present, presence)
        self._see(step, raw)
        self._encode(step)
        with self.context.autocast():
            assert step.encoded is not None
            step.unimodal = {m: p.float() for m, p in self.model.probe(step.encoded).items()}
        said: list[tuple[Tensor, Tensor]] = []
        reached: set[str] = set()  # branches that an earlier pass of this step has changed
        for one in self._passes(step):
            reached |= self._pass(step, one, reached, first=not said)
            assert step.logits is not None and step.fused_loss is not None
            said.append((step.logits.detach(), step.fused_loss.detach()))
        step.logits, step.fused_loss = (
            torch.stack(parts).mean(dim=0) for parts in zip(*said, strict=True)
        )
        self.average.update(index)
        self.context.changed()
        for balancer in self.balancers:
            balancer.step_end(step)
        return step

    # -- forward -----------------------------------------------------------------------

    def _see(self, step: Step, raw: Mapping[str, Tensor]) -> None:
        """Inputs as the branches receive them, and what the strategy may see of them."""
        with torch.no_grad():
            inputs = self.model.standardised(raw)
            for m, modality in self.features.modalities.items():
                inputs[m] = augment(inputs[m], modality, self.context.config, step.generator)
            if step.presence is not None:
                inputs = step.presence.blanked(inputs)
        for balancer in self.balancers:
            inputs = return_checks.by_modality(
                balancer, "inputs", balancer.inputs(inputs, step), like=inputs
            )
        step.inputs = inputs
        for balancer in self.balancers:
            step.present = return_checks.mask(
                balancer, "present", balancer.present(step.present, step), like=step.present
            )
        if step.presence is not None:
            step.present = step.present & step.presence.table

    def _encode(self, step: Step) -> None:
        with self.context.autocast():
            step.encoded = self.model.encode(step.inputs, step.presence, self.graphs)
        for known in ("embeddings", "unimodal_logits"):  # of the branches as they were
            step.__dict__.pop(known, None)

    def _passes(self, step: Step) -> list[Pass]:
        for balancer in self.balancers:
            passes = balancer.passes(step)
            if passes is not None and return_checks.sequence(balancer, "passes", passes, Pass):
                return passes
        return [Pass()]

    def _pass(self, step: Step, one: Pass, reached: set[str], *, first: bool) -> set[str]:
        """Go through the batch once. Returns the modalities whose branches it may have changed."""
        names = set(self.model.modalities if one.modalities is None else one.modalities)
        if names & reached:
            self._encode(step)
        step.__dict__.pop("unimodal_logits", None)  # of the probes before the last pass
        step.current = one
        losses = self._losses(step, names)
        # The probes learn once per step, whatever the passes.
        probes = list(step.unimodal_losses.values()) if first else []
        self.finite.step(step, torch.stack([*losses.values()]).sum())
        self.optimizer.zero_grad()
        # Where balancers replace whole gradients, what the probes teach a pooling comes after.
        later = self._probe_gradients(probes) if self.separate else {}
        gradients = self._backward(losses, () if self.separate else probes)
        # Without a branch that got any there is nothing to change: all stand still, say.
        for balancer in self.balancers if gradients.modalities else ():
            balancer.gradients(gradients, step)
        for gradients_of_poolings in later.values():
            for parameter, gradient in gradients_of_poolings:
                if parameter.grad is None:
                    parameter.grad = laid_out(gradient, parameter)
                else:
                    parameter.grad += gradient  # in place: a factor still finds it
        with self.recorder.step(step.index) if self.recorder else contextlib.nullcontext():
            self.optimizer.step(step.index, gradients)
        step.passes += 1
        return {*gradients.modalities, *later}

    def _losses(self, step: Step, names: set[str]) -> dict[str, Tensor]:
        """Let the strategy see `names`, and fill in `step`."""
        assert step.encoded is not None
        given = self.model.strategy_inputs(step.encoded)
        for balancer in self.balancers:
            given = return_checks.by_modality(
                balancer,
                "representations",
                balancer.representations(given, step),
                like=given,
                axes=2,  # a map may get another grid
            )
        present = step.present if self.absences or step.presence is not None else None
        if len(names) < len(given):
            # Without a graph: nothing reaches the branches that this pass leaves out.
            given = {m: x if m in names else torch.zeros_like(x) for m, x in given.items()}
            there = torch.tensor([m in names for m in given])
            present = step.present & on_device(there, step.present.device)
        step.representations = given
        step.__dict__.pop("contributions", None)
        with self.context.autocast():
            logits = self.model.fuse(given, present).float()
        step.logits = logits
        for balancer in self.balancers:
            changed = balancer.logits(step.logits, step)
            shape = step.logits.shape
            step.logits = return_checks.tensor(
                balancer, "logits", changed, shape, return_checks.SCORES
            )
        step.fused_loss = step.cross_entropy(step.logits)
        losses = {FUSED: step.fused_loss}
        for balancer in self.balancers:
            losses = return_checks.losses(balancer, "losses", balancer.losses(losses, step))
        return losses

    # -- backward ----------------------------------------------------------------------

    def _backward(self, losses: Mapping[str, Tensor], probes: Sequence[Tensor]) -> Gradients:
        branches = {
            m: [p for p in self.model.branches[m].parameters() if p.requires_grad]
            for m in self.model.modalities
        }
        parts = self._separately(losses, branches) if self.separate else None
        reaching = [loss for loss in (*probes, *losses.values()) if loss.requires_grad]
        if reaching and not self.separate:
            torch.stack(reaching).sum().backward()  # type: ignore[no-untyped-call]
        reached = {m: [p for p in own if p.grad is not None] for m, own in branches.items()}
        reached = {m: own for m, own in reached.items() if own}
        return Gradients(
            {m: [p.grad for p in own if p.grad is not None] for m, own in reached.items()},
            reached,
            None if parts is None else self._aligned(parts, branches, reached),
        )

    def _probe_gradients(
        self, losses: Sequence[Tensor]
    ) -> dict[str, list[tuple[nn.Parameter, Tensor]]]:
        """Let the probes have their gradients; returns those of the branches, by modality.

        Of their poolings, that is, where the strategy takes maps: nowhere else is there any.
        """
        if not losses:
            return {}
        probes = list(self.model.probes.parameters())
        branches = [
            (m, p)
            for m in self.model.modalities
            for p in self.model.branches[m].parameters()
            if p.requires_grad
        ]
        wanted = [*probes, *(p for _, p in branches)]
        total = torch.stack([*losses]).sum()
        found = torch.autograd.grad(total, wanted, retain_graph=True, allow_unused=True)
        for probe, gradient in zip(probes, found, strict=False):
            probe.grad = gradient
        rest: dict[str, list[tuple[nn.Parameter, Tensor]]] = {}
        for (m, parameter), gradient in zip(branches, found[len(probes) :], strict=True):
            if gradient is not None:
                rest.setdefault(m, []).append((parameter, gradient))
        return rest

    def _separately(
        self, losses: Mapping[str, Tensor], branches: Mapping[str, list[nn.Parameter]]
    ) -> dict[str, dict[int, Tensor]]:
        """A backward pass per loss. Returns loss -> id of a parameter -> its gradient.

        The sum of all goes to ``.grad``, as one backward pass would leave it.
        """
        head = [p for p in self.model.strategy.parameters() if p.requires_grad]
        wanted = [*(p for own in branches.values() for p in own), *head]
        found: dict[str, dict[int, Tensor]] = {}
        for name, loss in losses.items():
            found[name] = {}
            if not loss.requires_grad:
                continue
            # The graph is kept: the probes' losses and other passes may need parts of it.
            grads = torch.autograd.grad(loss, wanted, retain_graph=True, allow_unused=True)
            for parameter, grad in zip(wanted, grads, strict=True):
                if grad is not None:
                    found[name][id(parameter)] = grad
        for parameter in wanted:
            own = [grads[id(parameter)] for grads in found.values() if id(parameter) in grads]
            if own:
                parameter.grad = laid_out(torch.stack(own).sum(dim=0), parameter)
        return found

    def _aligned(
        self,
        parts: Mapping[str, Mapping[int, Tensor]],
        branches: Mapping[str, list[nn.Parameter]],
        reached: Mapping[str, list[nn.Parameter]],
    ) -> dict[str, dict[str, list[Tensor]]]:
        """The parts by loss and modality, tensor for tensor beside the whole gradient."""
        return {
            loss: {
                m: [own[id(p)] if id(p) in own else torch.zeros_like(p) for p in reached[m]]
                for m in reached
                if any(id(p) in own for p in branches[m])
            }
            for loss, own in parts.items()
        }


def laid_out(gradient: Tensor, parameter: nn.Parameter) -> Tensor:
    """A copy in the parameter's memory layout, as ``backward`` leaves it.

    ``autograd.grad`` returns convolutions' gradients in their own layout, which fused optimisers
    read as if it were the parameter's.
    """
    return torch.empty_like(parameter).copy_(gradient)
