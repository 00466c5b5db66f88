"""Gradients of the fused and the single-modality losses, each by itself, in plain torch."""

import copy

import torch
from torch.nn import functional


def loss_gradients(trainer, clips=8):
    """Of the first clips, before any step: loss -> modality or "head" -> list of tensors.

    In the order of the parameters, zeros where a loss does not reach.
    """
    model = copy.deepcopy(trainer.model).train()
    raw, labels = trainer.features.batch(trainer.train[:clips])
    inputs = model.standardised(raw)
    fused = model.fuse(model.strategy_inputs(model.encode(inputs)))
    losses = {"fused": functional.cross_entropy(fused, labels)}
    for m in model.modalities:
        probe, z = model.probes[m], model.branches[m](inputs[m])
        scores = functional.linear(z, probe.weight.detach(), probe.bias.detach())
        losses[f"unimodal.{m}"] = functional.cross_entropy(scores, labels)
    parts = {**dict(model.branches.items()), "head": model.strategy}
    return {
        name: {part: _gradients(loss, list(net.parameters())) for part, net in parts.items()}
        for name, loss in losses.items()
    }


def probe_gradients(trainer, clips=8):
    """What the probes' own losses send into the branches: modality -> list of tensors.

    Something only where the strategy takes maps: there they train the pooling.
    """
    model = copy.deepcopy(trainer.model).train()
    raw, labels = trainer.features.batch(trainer.train[:clips])
    scores = model.probe(model.encode(model.standardised(raw)))
    return {
        m: _gradients(functional.cross_entropy(scores[m], labels), list(branch.parameters()))
        for m, branch in model.branches.items()
    }


def _gradients(loss, parameters):
    found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    pairs = zip(found, parameters, strict=True)
    return [torch.zeros_like(p) if g is None else g for g, p in pairs]


def flat(tensors):
    return torch.cat([t.detach().flatten() for t in tensors])


def of_step(trainer, part):
    """What the optimiser took for a branch, or for the head, in its latest step."""
    net = trainer.model.strategy if part == "head" else trainer.model.branches[part]
    return flat([torch.zeros_like(p) if p.grad is None else p.grad for p in net.parameters()])
