"""The balancers of a run: made, checked against each other, tried on an untrained model."""

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
    """The balancers in the order given, parameters bound."""
    made: list[Balancer] = []
    for name in config.balancers:
        cls = registry.balancer(name)
        made.append(make(cls, settings=config.settings.get(name, {}), owner=name))
    return made


def check_training(config: RunConfig, registry: Registry, spec: ModelSpec) -> None:
    """Make the model and let the balancers look at it, before the long work starts.

    Raises
    ------
    ParameterError
        If something does not fit, or two balancers can't be combined.
    PluginError
        If a plugin fails.
    """
    balancers = make_balancers(config, registry)
    check_composition(balancers)
    model = build_model(spec, registry)
    check_model(model)
    # Untrained, they show nevertheless whether what reads them can.
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
    """Refuse two balancers that would decide the same thing.

    Raises
    ------
    ParameterError
        Naming both, and what.
    """
    taken: dict[str, str] = {}
    for balancer in balancers:
        if balancer.name in taken.values() or [b.name for b in balancers].count(balancer.name) > 1:
            raise ParameterError(
                f"The balancer {balancer.name!r} is named twice.", hint="Name it once."
            )
        for domain in balancer.takes_over:
            if domain in taken:
                raise ParameterError(
                    f"The balancers {taken[domain]!r} and {balancer.name!r} can't be combined: "
                    f"both decide {_DOMAINS[domain]}.",
                    hint="Leave one of them out.",
                )
        taken |= dict.fromkeys(balancer.takes_over, balancer.name)


_DOMAINS: Mapping[Domain, str] = {
    "clips": "which clips an epoch goes through",
    "start": "which weights the branches start from",
    "stages": "what is trained in which epoch",
    "passes": "how a batch is gone through",
    "representations": "what the strategy receives of the modalities",
    "logits": "the fused scores",
    "fused_loss": "what the fused scores are trained with",
    "unimodal_losses": "how the single-modality losses reach the branches",
    "gradients": "how several losses become one gradient",
    "head": "what stands in the strategy's place",
}


def late_rules(config: RunConfig, registry: Registry, epochs: int) -> list[str]:
    """What to tell the user of balancers that do nothing in a training of so few epochs."""
    return [
        f"{balancer.name} does nothing before epoch {balancer.acts_from}, and there are {epochs}."
        for balancer in make_balancers(config, registry)
        if balancer.acts_from > epochs
    ]


def starts_from_baselines(config: RunConfig, registry: Registry) -> bool:
    """Whether the engine starts the fused model from the single-modality baselines.

    A balancer that decides about the start itself takes precedence over ``train.start``.
    """
    balancers = [registry.balancer(name) for name in config.balancers]
    return config.train.start == "baselines" and not any(
        "start" in balancer.takes_over for balancer in balancers
    )


def needs_baselines(config: RunConfig, registry: Registry) -> bool:
    """Whether the fused model starts from the modalities trained alone, or learns from them."""
    balancers = [registry.balancer(name) for name in config.balancers]
    return (
        starts_from_baselines(config, registry)
        or registry.strategy(config.strategy).needs_baselines
        or any(balancer.needs_baselines for balancer in balancers)
    )


def fused_settings(config: RunConfig, registry: Registry) -> TrainConfig:
    """Return the fused model's training settings: fewer epochs after a start from baselines."""
    train = config.train
    return train.finetuning if starts_from_baselines(config, registry) else train


def control_epochs(config: RunConfig, registry: Registry) -> int:
    """Return the epochs of the equal-steps control: a baseline's and the fused model's together.

    0 where the fused model uses no baseline, and so had no more steps than they had.
    """
    if not needs_baselines(config, registry):
        return 0
    return config.train.epochs + fused_settings(config, registry).epochs
