"""Separate gradients of the fused and the single-modality losses in plain torch."""

import copy

import torch
from torch.nn import functional


def loss_gradients(trainer, clips=8):
    """Return gradients for the first clips: loss -> modality or "head" -> list of tensors.

    The tensors are in the order of the parameters, and zero if a loss doesn't depend on one.
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
    """Return the gradients of the probes' own losses by branch, modality -> list of tensors.

    They are non-zero only if the strategy takes maps: the probes train the pooling then.
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
    """Return the gradient of a branch or the head in the optimiser's latest step."""
    net = trainer.model.strategy if part == "head" else trainer.model.branches[part]
    return flat([torch.zeros_like(p) if p.grad is None else p.grad for p in net.parameters()])
