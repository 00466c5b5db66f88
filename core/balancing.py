"""The balancers of a run: made, checked against each other, tried on an untrained model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .baselines import adopt, frozen
from .blame import told
from .config import RunConfig
from .context import TrainingContext
from .contracts import Balancer
from .contracts.training import Domain
from .errors import FusionError, ParameterError, PluginError
from .model import ModelSpec, build_model, check_model
from .parameters import make
from .registry import Registry


def make_balancers(config: RunConfig, registry: Registry) -> list[Balancer]:
    """The balancers in the order given, parameters bound."""
    made: list[Balancer] = []
    for name in config.balancers:
        cls = registry.balancer(name)
        made.append(make(cls, given=config.settings.get(name, {}), owner=name))
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
    context = TrainingContext(model, config.train, baselines=baselines)
    try:
        adopt(model, baselines)
    except FusionError:
        raise
    except Exception as error:
        raise PluginError(
            f"The strategy {config.strategy!r} fails to start from the baselines: {told(error)}"
        ) from error
    for balancer in balancers:
        try:
            balancer.setup(context)
        except FusionError:
            raise
        except Exception as error:
            raise PluginError(
                f"The balancer {balancer.name!r} fails in setup: {told(error)}"
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


def needs_baselines(config: RunConfig, registry: Registry) -> bool:
    """Whether the strategy or a balancer reads the modalities trained alone."""
    balancers = [registry.balancer(name) for name in config.balancers]
    return registry.strategy(config.strategy).needs_baselines or any(
        balancer.needs_baselines for balancer in balancers
    )
