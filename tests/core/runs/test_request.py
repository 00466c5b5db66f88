"""Conversion of options to a configuration, for the command line and for Python."""

import subprocess
import sys

import pytest

from fusion.core.contracts.errors import ParameterError
from fusion.core.registry.registry import Registry
from fusion.core.runs.request import (
    config_from,
    parse_branches,
    parse_dtypes,
    parse_features,
)


@pytest.fixture(scope="module")
def registry():
    return Registry(["no:persistence"])


def asked(registry, **options):
    """Return the configuration of a command with `options`."""
    plain = {"data": (), "settings": (), "features": "", "branches": (), "dtypes": ()}
    return config_from({**plain, **options}, registry)


def test_missing_options_are_filled_in(registry):
    config = asked(registry)
    assert config.data == ("demo",) and config.features == ("levelset", "mel")
    assert (config.strategy, config.balancers, config.tune) == ("gated", (), 0)
    assert config.settings == {} and config.plugins == ("no:persistence",)


def test_options_become_fields_of_the_configuration(registry):
    config = asked(
        registry, data=("demo", "x=y"), labels="a,b", strategy="concat", balancers=("none", "lr"),
        split="random", folds=3, seed=4, device="cpu", trackers=("jsonl",), cache="/features",
        strict=True, verify="always", adapt="speaker", features=" mel ,mfcc", tune=7,
        branches=("mel=crnn",), dtypes=("float16", "mel=float32"), out="runs/x", json=True,
        settings=("gated.hidden=3", "branch.mel.blocks=2"),
    )  # fmt: skip
    assert (config.data, config.labels, config.strategy) == (("demo", "x=y"), "a,b", "concat")
    assert config.balancers == ("lr",)  # "none" is dropped
    assert (config.split, config.folds, config.seed, config.device) == ("random", 3, 4, "cpu")
    assert (config.trackers, config.cache, config.strict) == (("jsonl",), "/features", True)
    assert (config.verify, config.adapt, config.tune) == ("always", "speaker", 7)
    assert config.features == ("mel", "mfcc") and config.branches == {"mel": "crnn"}
    assert config.dtypes == {"*": "float16", "mel": "float32"}
    assert config.settings == {"gated": {"hidden": "3"}, "branch.mel": {"blocks": "2"}}


def test_short_options_are_training_settings(registry):
    config = asked(registry, epochs=3, batch_size=None, lr=0.25, settings=("train.clip=1",))
    assert config.settings == {"train": {"clip": "1", "epochs": "3", "lr": "0.25"}}
    assert config.train.epochs == 3


@pytest.mark.parametrize(
    ("name", "option"), [("epochs", "--epochs"), ("batch_size", "--batch-size"), ("lr", "--lr")]
)
def test_a_parameter_given_twice_is_refused(registry, name, option):
    with pytest.raises(ParameterError) as caught:
        asked(registry, **{name: 3}, settings=(f"train.{name}=3",))
    assert (
        caught.value.message
        == f"{option} and --set train.{name} can't be given together: they are the same parameter."
    )


def test_features_are_separated_by_commas():
    assert parse_features("mel, prosody,") == ("mel", "prosody")
    assert parse_features(" , ") == ()


def test_branches_by_modality():
    assert parse_branches(("mel=crnn", "text=a=b")) == {"mel": "crnn", "text": "a=b"}
    with pytest.raises(ParameterError, match="must be MODALITY=NAME, and is 'crnn'"):
        parse_branches(("mel=cnn", "crnn"))
    with pytest.raises(ParameterError, match="names the branch of 'mel' twice"):
        parse_branches(("mel=cnn", "mel=crnn"))


def test_dtypes_by_feature_and_for_all():
    assert parse_dtypes(("float32", "mel=float16")) == {"*": "float32", "mel": "float16"}
    assert parse_dtypes(()) == {}


def test_the_module_imports_no_heavy_package():
    code = (
        "import sys, fusion.core.runs.request; "
        "print(*{'torch', 'numpy', 'msgspec', 'scipy'} & set(sys.modules))"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert output.stdout.split() == []
