"""Faults and strengths that `faults.py` tries, and the configuration of each trial's run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fusion import Extractor
from fusion.core.contracts import Modality
from fusion.core.data.corpora import load_dataset
from fusion.core.data.extraction import make_extractor
from fusion.core.data.sources import parse_source
from fusion.core.registry.registry import HOOKS, Registry
from fusion.core.runs.config import RunConfig
from fusion.core.runs.plan import with_defaults
from fusion.core.training.model import default_branch

HEALTHY = "healthy"


@dataclass(frozen=True)
class Fault:
    """One injected fault.

    Attributes
    ----------
    expected : str
        Name of the fault in the diagnosis.
    kind : str
        Kind of plugin that is broken: ``"branch"``, ``"strategy"``, ``"extractor"``, ``"corpus"``,
        or ``"settings"`` if the configuration of the run is the fault.
    call : str
        Call that creates the fault from the class ``{cls}``, at the strength ``{x}``, in the
        modality ``{modality}``, with the trial's ``{seed}``.
    strengths : tuple
        Strengths, the strongest first. For `late` they are shares of all steps.
    train : mapping
        Training settings without which the fault is harmless.
    """

    expected: str
    kind: str
    call: str
    strengths: tuple[float, ...]
    train: Mapping[str, Any] = field(default_factory=dict)


# Augmentation is disabled, because no head over-fits if the clips differ in every epoch.
_SAME_CLIPS = {"masks": 0, "shift_time": 0, "shift_frequency": 0, "label_smoothing": 0}

FAULTS = {
    "scaled": Fault("scale_mismatch", "branch", "scaled({cls}, {x:g})", (1000, 100, 30)),
    "dead": Fault("dead_branch", "branch", "dead({cls}, {x:g})", (1.0, 0.98, 0.95)),
    "frozen": Fault("frozen_branch", "branch", "frozen({cls}, {x:g})", (1.0, 0.9, 0.7)),
    "biased": Fault("swamping_bias", "branch", "biased({cls}, {x:g})", (100, 30, 10)),
    "shuffled": Fault("mispaired", "extractor", "shuffled({cls}, {x:g}, {seed})", (1.0, 0.8, 0.6)),
    "starved": Fault(
        "branch_imbalance",
        "strategy",
        "starved({cls}, {x:g}, modality={modality!r})",
        (1e-9, 1e-8, 1e-7),
    ),
    "oversized": Fault(
        "overfitting_head",
        "strategy",
        "oversized({cls}, {x:g})",
        (3072, 2048, 1536),
        _SAME_CLIPS,
    ),
    "narrow": Fault("architecture_imbalance", "branch", "narrow({cls}, {x:g})", (1, 2, 3)),
    "late": Fault(
        "cold_start", "strategy", "late({cls}, {steps}, modality='*')", (0.97, 0.95, 0.9)
    ),
    # Locks in on the run's last modality; a fusion locked in on the best modality loses little.
    "locked": Fault("misplaced_trust", "strategy", "locked({cls}, {x:g})", (0.98, 0.95, 0.9)),
    "mislabelled": Fault(
        "label_noise", "corpus", "mislabelled({cls}, {x:g}, {seed})", (0.5, 0.4, 0.3)
    ),
    "duplicated": Fault(
        "duplicates", "corpus", "duplicated({cls}, {x:g}, {seed})", (0.3, 0.2, 0.1)
    ),
    "leaked": Fault("leaked_speakers", "settings", "", (1,)),
}


@dataclass(frozen=True)
class Trial:
    """One run, and the diagnosis that is expected for it.

    Attributes
    ----------
    key : str
        Name of the run's folder.
    fault, strength, expected : str
        The fault, its strength, and the finding that the diagnosis should report first.
    modality : str or None
        Modality with the fault, as named in the run; None if the fault is in no single modality.
    label : str
        Strategy and balancers.
    seed : int
        Seed of the trial.
    shared : tuple of str
        Modalities whose baselines are copied from the healthy run.
    config : callable
        Function from the number of steps of a training to the run's configuration.
    """

    key: str
    fault: str
    strength: str
    expected: str
    modality: str | None
    label: str
    seed: int
    shared: tuple[str, ...]
    config: Callable[[int], RunConfig]


class Maker:
    """Factory of trials.

    Parameters
    ----------
    registry : Registry
        Healthy plugins.
    data : str or None
        Value of ``--data``.
    cache : str
        Path of the feature cache.
    settings : mapping
        Settings of every run: owner -> parameter -> value.
    strategies : sequence of str
        Strategies, which the trials use in turn.
    folder : Path
        Folder for plugin files.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        data: str | None,
        cache: str,
        settings: Mapping[str, Mapping[str, Any]],
        strategies: Sequence[str],
        folder: Path,
    ) -> None:
        self.registry = registry
        self.strategies = list(strategies)
        self.folder = folder
        config = RunConfig(data=(data,) if data else (), cache=cache, settings=settings)
        self.plain = with_defaults(config, registry)
        self.modalities = list(self.plain.features)

    def base(self, seed: int) -> Trial:
        """Return the healthy trial whose baselines the other trials of the seed share."""
        return next(self.healthy(seed))

    def healthy(self, seed: int) -> Iterator[Trial]:
        """Yield healthy trials: each strategy, one of them balanced, then sum and normalised."""
        for strategy in self.strategies:
            yield self._healthy(seed, strategy, ())
        turn = self.strategies[seed % len(self.strategies)]
        yield self._healthy(seed, turn, ("gradscale",))
        for strategy in ("sum", "normalised"):
            yield self._healthy(seed, strategy, ())

    def _healthy(self, seed: int, strategy: str, balancers: tuple[str, ...]) -> Trial:
        config = replace(self.plain, seed=seed, strategy=strategy, balancers=balancers)
        label = "+".join([strategy, *balancers])
        shared = tuple(self.modalities)
        return Trial(
            f"{HEALTHY}-{label}-{seed}", HEALTHY, label, "nothing", None, label, seed, shared,
            lambda steps: config,
        )  # fmt: skip

    def faulty(self, name: str, x: float, seed: int) -> Trial:
        """Return the trial of a fault at strength `x`."""
        fault = FAULTS[name]
        modality = self.modalities[seed % len(self.modalities)]
        # The strategy changes after each cycle of modalities, so that all combinations occur.
        strategy = self.strategies[seed // len(self.modalities) % len(self.strategies)]
        struck = {
            "branch": modality,
            "strategy": modality if "modality={" in fault.call else None,
            "extractor": f"{modality}_{name}",
        }.get(fault.kind)
        spoilt = {"branch": {modality}, "extractor": {modality}}.get(fault.kind, set())
        unchanged = fault.kind not in ("corpus", "settings") and not fault.train
        key = f"{name}-{x:g}-{seed}"

        def config(steps: int) -> RunConfig:
            settings = {**self.plain.settings}
            settings["train"] = {**settings.get("train", {}), **fault.train}
            plain = replace(self.plain, seed=seed, strategy=strategy, settings=settings)
            if fault.kind == "settings":
                return replace(plain, split="random")
            return self._with_plugin(plain, name, key, modality, x, steps)

        return Trial(
            key, name, f"{x:g}", fault.expected, struck, strategy, seed,
            tuple(m for m in self.modalities if unchanged and m not in spoilt), config,
        )  # fmt: skip

    def _with_plugin(
        self, plain: RunConfig, name: str, key: str, modality: str, x: float, steps: int
    ) -> RunConfig:
        """Write the plugin file of the fault, and return the configuration that uses the plugin."""
        fault = FAULTS[name]
        healthy = self._healthy_name(fault.kind, plain, modality)
        values = {"x": x, "modality": modality, "seed": plain.seed, "steps": round(x * steps)}
        file = self.folder / "plugins" / f"{key.replace('.', '_').replace('-', '_')}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(self._plugin(fault, healthy, values), encoding="utf-8")
        plain = replace(plain, plugins=(str(file),))
        return self._replaced(plain, fault.kind, modality, healthy, f"{healthy}_{name}")

    def _healthy_name(self, kind: str, plain: RunConfig, modality: str) -> str:
        """Return the name of the healthy plugin that the faulty class replaces."""
        if kind == "corpus":
            corpora = self.registry.corpora()
            source = parse_source(plain.data[0], corpora)
            return source.corpus or load_dataset([source], corpora).corpora[0]
        if kind == "branch":
            extractor = self._extractor(plain, modality)
            shown = Modality(modality, extractor.shape, extractor.axes)
            return default_branch(shown, extractor.default_branch, self.registry)
        return plain.strategy if kind == "strategy" else modality

    def _extractor(self, plain: RunConfig, modality: str) -> Extractor:
        parameters = plain.settings.get(modality, {})
        return make_extractor(self.registry.extractor(modality), parameters)

    def _replaced(
        self, plain: RunConfig, kind: str, modality: str, healthy: str, new: str
    ) -> RunConfig:
        """Return the configuration with plugin `healthy` replaced by `new`, and equal settings."""
        settings = {owner: dict(values) for owner, values in plain.settings.items()}
        if kind == "branch":
            owner = f"branch.{modality}"
            advice = self._extractor(plain, modality).default_branch_parameters
            settings[owner] = {**advice, **settings.get(owner, {})}
            return replace(plain, branches={modality: new}, settings=settings)
        renamed = {healthy: new, f"branch.{healthy}": f"branch.{new}"}
        settings = {renamed.get(owner, owner): values for owner, values in settings.items()}
        config = replace(plain, settings=settings)
        if kind == "strategy":
            return replace(config, strategy=new)
        if kind == "extractor":
            features = tuple(new if m == healthy else m for m in plain.features)
            return replace(config, features=features)
        path = plain.data[0].partition("=")[2] or plain.data[0]
        return replace(config, data=(new if path == healthy else f"{new}={path}",))

    def _plugin(self, fault: Fault, healthy: str, values: Mapping[str, Any]) -> str:
        """Return the source code of a fault's plugin file."""
        cls = self.registry.get(fault.kind, healthy)
        lines = [
            '"""Written by benchmarks/faults.py."""',
            "",
            "from fusion import hookimpl",
            f"from {cls.__module__} import {cls.__qualname__}",
            "from fusion.testing import faults",
            "",
        ]
        name = cls.__qualname__
        if fault.kind == "extractor":
            lines += _CACHED.format(cls=name, cache=self.plain.cache).splitlines()
            name = "Cached"
        lines += [
            f"Faulty = faults.{fault.call.format(cls=name, **values)}",
            "",
            "",
            "@hookimpl",
            f"def {HOOKS[fault.kind]}():",
            "    return [Faulty]",
            "",
        ]
        return "\n".join(lines)


_CACHED = '''
from fusion.cache import FeatureCache, digest_recording
from fusion.core.data.extraction import fingerprint_of, make_extractor

CACHE = FeatureCache({cache!r})


class Cached({cls}):
    """{cls} that reads cached arrays, so that exchanging arrays needs no second extraction."""

    def extract(self, recording):
        healthy = fingerprint_of(make_extractor({cls}, self.parameters))
        key = digest_recording(recording.path, recording.start, recording.end)
        if CACHE.missing(healthy, [key]):
            return super().extract(recording)
        return CACHE.open(healthy, [key])[0]


'''
