"""Balancers of a run: construction, checks of their combination, and a trial setup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..contracts import Balancer
from ..contracts.errors import FusionError, ParameterError, PluginError
from ..contracts.train_config import TrainConfig
from ..contracts.training import Domain
from ..registry.parameters import make
from ..registry.provenance import message_of
from ..registry.registry import Registry
from ..training.baselines import adopt, frozen
from ..training.context import TrainingContext
from ..training.model import ModelSpec, build_model, check_model
from .config import RunConfig


def make_balancers(config: RunConfig, registry: Registry) -> list[Balancer]:
    """Make the balancers in the order given, with bound parameters."""
    balancers: list[Balancer] = []
    for name in config.balancers:
        cls = registry.balancer(name)
        balancers.append(make(cls, settings=config.settings.get(name, {}), owner=name))
    return balancers


def check_training(config: RunConfig, registry: Registry, spec: ModelSpec) -> None:
    """Build the untrained model and call every balancer's setup, before extraction and training.

    Raises
    ------
    ParameterError
        If a balancer does not suit the model, or two balancers can't be combined.
    PluginError
        If a plugin fails.
    """
    balancers = make_balancers(config, registry)
    check_composition(balancers)
    model = build_model(spec, registry)
    check_model(model)
    # The baselines need no training to test whether a strategy or balancer can read baselines.
    baselines = {
        m: frozen(m, build_model(spec.single(m), registry), 0.0)
        for m in (model.modalities if needs_baselines(config, registry) else ())
    }
    context = TrainingContext(model, fused_settings(config, registry), baselines=baselines)
    try:
        adopt(model, baselines, everywhere=starts_from_baselines(config, registry))
    except FusionError:
        raise
    except Exception as error:
        raise PluginError(
            f"The strategy {config.strategy!r} fails to start from the baselines: "
            f"{message_of(error)}"
        ) from error
    for balancer in balancers:
        try:
            balancer.setup(context)
        except FusionError:
            raise
        except Exception as error:
            raise PluginError(
                f"The balancer {balancer.name!r} fails in setup: {message_of(error)}"
            ) from error


def check_composition(balancers: Sequence[Balancer]) -> None:
    """Raise if two balancers would control the same part of training.

    Raises
    ------
    ParameterError
        If two balancers have a domain in common, or one balancer is given twice. The message
        names the balancers and the domain.
    """
    owners: dict[str, str] = {}
    for balancer in balancers:
        if balancer.name in owners.values() or [b.name for b in balancers].count(balancer.name) > 1:
            raise ParameterError(
                f"The balancer {balancer.name!r} is named twice.", hint="Name the balancer once."
            )
        for domain in balancer.takes_over:
            if domain in owners:
                raise ParameterError(
                    f"The balancers {owners[domain]!r} and {balancer.name!r} can't be combined: "
                    f"both decide {_DOMAINS[domain]}.",
                    hint="Leave out one of the two.",
                )
        owners |= dict.fromkeys(balancer.takes_over, balancer.name)


_DOMAINS: Mapping[Domain, str] = {
    "clips": "which clips an epoch goes through",
    "start": "which weights the branches start from",
    "stages": "what is trained in which epoch",
    "passes": "how a batch is processed",
    "representations": "what the strategy receives of the modalities",
    "logits": "the fused scores",
    "fused_loss": "which loss the fused scores are trained with",
    "unimodal_losses": "how the single-modality losses reach the branches",
    "gradients": "how several losses become one gradient",
    "head": "what replaces the strategy",
}


def late_rules(config: RunConfig, registry: Registry, epochs: int) -> list[str]:
    """Return a warning for each balancer that starts to act after the last of `epochs` epochs."""
    return [
        f"{balancer.name} has no effect: it starts to act in epoch {balancer.acts_from}, and "
        f"training has {epochs} epochs."
        for balancer in make_balancers(config, registry)
        if balancer.acts_from > epochs
    ]


def starts_from_baselines(config: RunConfig, registry: Registry) -> bool:
    """Return whether the engine initialises the fused model from the single-modality baselines.

    A balancer that controls the initial weights takes precedence over ``train.start``.
    """
    balancers = [registry.balancer(name) for name in config.balancers]
    return config.train.start == "baselines" and not any(
        "start" in balancer.takes_over for balancer in balancers
    )


def needs_baselines(config: RunConfig, registry: Registry) -> bool:
    """Return whether the fused model is initialised from the baselines or reads them in training.

    True if the engine, the strategy or a balancer needs the baselines.
    """
    balancers = [registry.balancer(name) for name in config.balancers]
    return (
        starts_from_baselines(config, registry)
        or registry.strategy(config.strategy).needs_baselines
        or any(balancer.needs_baselines for balancer in balancers)
    )


def fused_settings(config: RunConfig, registry: Registry) -> TrainConfig:
    """Return the fused model's training settings; a start from baselines takes fewer epochs."""
    train = config.train
    return train.finetuning if starts_from_baselines(config, registry) else train


def control_epochs(config: RunConfig, registry: Registry) -> int:
    """Return the epochs of the equal-steps control: the sum for a baseline and the fused model.

    Return 0 if the fused model uses no baseline: a fused model without baselines trains for no more
    steps than a baseline does.
    """
    if not needs_baselines(config, registry):
        return 0
    return config.train.epochs + fused_settings(config, registry).epochs
