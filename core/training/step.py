"""One step of training: forward pass, losses, gradients, optimiser, and calls of the balancers."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ..contracts import Balancer, Clips, Gradients, Pass, Step
from ..data.features import Features, Indices
from ..toolkit.device import on_device
from . import return_checks
from .augment import augment
from .averaging import WeightAverage
from .context import TrainingContext, shown
from .finite import FiniteCheck
from .hardware.cuda_graphs import Graphs
from .optim import Optimizer
from .recorder import Recorder

FUSED = "fused"  # name of the loss of the fused scores


class Stepper:
    """Executor of the steps of one training.

    Parameters
    ----------
    context : TrainingContext
        Model and settings.
    features : Features
        Features of the clips.
    balancers : sequence of Balancer
        Balancers, called in this order.
    optimizer, average
        Optimiser and weight average, updated in every step.
    recorder : Recorder, optional
        Recorder of every optimiser step.
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
        self.graphs = Graphs.for_training(context.config, features.device)
        self.finite = FiniteCheck(context.config, features.device)
        self.separate = any(b.separate for b in balancers)
        # The class of a balancer shows whether the balancer hides modalities. Reading the tensor
        # of visible modalities would wait for the device.
        self.absences = any(
            type(b).present is not Balancer.present or type(b).clips is not Balancer.clips
            for b in balancers
        )

    def step(
        self,
        epoch: int,
        index: int,
        clips: Clips,
        generator: torch.Generator,
        rows: Indices | None = None,
    ) -> Step:
        """Take step `index` (from 0) of the training and return it.

        `rows` holds the row of the window to read for each clip; None means the middle window.
        `logits` and `fused_loss` of the returned step are means over its passes.
        """
        raw, labels = self.features.batch(clips.indices, rows)
        presence = self.features.presence(clips.indices)
        present = shown(clips.present, labels, len(self.model.modalities), presence)
        step = Step(self.context, epoch, index, labels, generator, present, presence)
        self._prepare_inputs(step, raw)
        self._encode(step)
        with self.context.autocast():
            assert step.encoded is not None
            step.unimodal = {m: p.float() for m, p in self.model.probe(step.encoded).items()}
        results: list[tuple[Tensor, Tensor]] = []
        reached: set[str] = set()  # branches that an earlier pass of this step has changed
        for current in self._passes(step):
            reached |= self._pass(step, current, reached, first=not results)
            assert step.logits is not None and step.fused_loss is not None
            results.append((step.logits.detach(), step.fused_loss.detach()))
        step.logits, step.fused_loss = (
            torch.stack(parts).mean(dim=0) for parts in zip(*results, strict=True)
        )
        self.average.update(index)
        self.context.changed()
        for balancer in self.balancers:
            balancer.step_end(step)
        return step

    # -- forward -----------------------------------------------------------------------

    def _prepare_inputs(self, step: Step, raw: Mapping[str, Tensor]) -> None:
        """Set `inputs` (standardised, augmented) and `present` of the step; call the balancers."""
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
        for name in ("embeddings", "unimodal_logits"):  # cached values of the old weights
            step.__dict__.pop(name, None)

    def _passes(self, step: Step) -> list[Pass]:
        for balancer in self.balancers:
            passes = balancer.passes(step)
            if passes is not None and return_checks.sequence(balancer, "passes", passes, Pass):
                return passes
        return [Pass()]

    def _pass(self, step: Step, current: Pass, reached: set[str], *, first: bool) -> set[str]:
        """Execute one pass; return the modalities whose branches the pass may have changed."""
        names = set(self.model.modalities if current.modalities is None else current.modalities)
        if names & reached:
            self._encode(step)
        step.__dict__.pop("unimodal_logits", None)  # cached value is from the probes' old weights
        step.current = current
        losses = self._losses(step, names)
        # The probes learn once per step, in its first pass.
        probes = list(step.unimodal_losses.values()) if first else []
        self.finite.step(step, torch.stack([*losses.values()]).sum())
        self.optimizer.zero_grad()
        # If balancers replace whole gradients, the probes' gradients for the poolings are added
        # after the balancers.
        later = self._probe_gradients(probes) if self.separate else {}
        gradients = self._backward(losses, () if self.separate else probes)
        # Balancers are not called if no branch has a gradient, for example if all are frozen.
        for balancer in self.balancers if gradients.modalities else ():
            balancer.gradients(gradients, step)
        for gradients_of_poolings in later.values():
            for parameter, gradient in gradients_of_poolings:
                if parameter.grad is None:
                    parameter.grad = laid_out(gradient, parameter)
                else:
                    parameter.grad += gradient  # in place, so that factors still apply to it
        with self.recorder.step(step.index) if self.recorder else contextlib.nullcontext():
            self.optimizer.step(step.index, gradients)
        step.passes += 1
        return {*gradients.modalities, *later}

    def _losses(self, step: Step, names: set[str]) -> dict[str, Tensor]:
        """Fuse the modalities `names`, set the results on `step`, and return the losses by name."""
        assert step.encoded is not None
        inputs = self.model.strategy_inputs(step.encoded)
        for balancer in self.balancers:
            inputs = return_checks.by_modality(
                balancer,
                "representations",
                balancer.representations(inputs, step),
                like=inputs,
                axes=2,  # a balancer may change the grid of a map
            )
        present = step.present if self.absences or step.presence is not None else None
        if len(names) < len(inputs):
            # New tensors without a graph, so that branches outside this pass get no gradient.
            inputs = {m: x if m in names else torch.zeros_like(x) for m, x in inputs.items()}
            visible = torch.tensor([m in names for m in inputs])
            present = step.present & on_device(visible, step.present.device)
        step.representations = inputs
        step.__dict__.pop("contributions", None)
        with self.context.autocast():
            logits = self.model.fuse(inputs, present).float()
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
        """Set the probes' gradients; return the branches' gradients of these losses, by modality.

        If the strategy takes maps, the loss of a probe reaches the pooling of the branch. Otherwise
        the loss reaches no weight of the branch.
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
        gradients = torch.autograd.grad(total, wanted, retain_graph=True, allow_unused=True)
        for probe, gradient in zip(probes, gradients, strict=False):
            probe.grad = gradient
        of_branches: dict[str, list[tuple[nn.Parameter, Tensor]]] = {}
        for (m, parameter), gradient in zip(branches, gradients[len(probes) :], strict=True):
            if gradient is not None:
                of_branches.setdefault(m, []).append((parameter, gradient))
        return of_branches

    def _separately(
        self, losses: Mapping[str, Tensor], branches: Mapping[str, list[nn.Parameter]]
    ) -> dict[str, dict[int, Tensor]]:
        """Run one backward pass per loss, and return each loss's gradients by parameter id.

        The sum over the losses is stored in ``.grad``, as after a single backward pass.
        """
        head = [p for p in self.model.strategy.parameters() if p.requires_grad]
        wanted = [*(p for own in branches.values() for p in own), *head]
        by_loss: dict[str, dict[int, Tensor]] = {}
        for name, loss in losses.items():
            by_loss[name] = {}
            if not loss.requires_grad:
                continue
            # The graph is retained: the probes' losses and other passes may need parts of it.
            grads = torch.autograd.grad(loss, wanted, retain_graph=True, allow_unused=True)
            for parameter, grad in zip(wanted, grads, strict=True):
                if grad is not None:
                    by_loss[name][id(parameter)] = grad
        for parameter in wanted:
            own = [grads[id(parameter)] for grads in by_loss.values() if id(parameter) in grads]
            if own:
                parameter.grad = laid_out(torch.stack(own).sum(dim=0), parameter)
        return by_loss

    def _aligned(
        self,
        parts: Mapping[str, Mapping[int, Tensor]],
        branches: Mapping[str, list[nn.Parameter]],
        reached: Mapping[str, list[nn.Parameter]],
    ) -> dict[str, dict[str, list[Tensor]]]:
        """Return the gradients by loss and modality, in the order of the parameters in `reached`.

        A parameter that a loss does not reach has a gradient of zeros.
        """
        return {
            loss: {
                m: [own[id(p)] if id(p) in own else torch.zeros_like(p) for p in reached[m]]
                for m in reached
                if any(id(p) in own for p in branches[m])
            }
            for loss, own in parts.items()
        }


def laid_out(gradient: Tensor, parameter: nn.Parameter) -> Tensor:
    """Copy a gradient into the memory layout of its parameter, as ``backward`` does.

    ``autograd.grad`` returns the gradients of convolutions in another layout. Fused optimisers
    would read such a gradient as if its layout were the parameter's layout.
    """
    return torch.empty_like(parameter).copy_(gradient)
