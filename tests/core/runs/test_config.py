"""A configuration as plain values: it survives JSON, and passwords are not stored."""

import json
from pathlib import Path

import pytest

from fusion import LogUniform, Uniform
from fusion.core.contracts.errors import ParameterError, UnknownNameError
from fusion.core.contracts.train_config import TrainConfig
from fusion.core.runs.config import RunConfig
from fusion.core.toolkit.run_files import as_type


def read(plain):
    return as_type(json.loads(json.dumps(plain)), RunConfig, Path("run.json"))


def test_the_defaults_survive_json():
    config = RunConfig(("demo",))
    assert read(config.to_json()) == config
    assert (config.split, config.folds, config.adapt, config.tune) == ("speaker", None, "none", 0)


def test_everything_survives_json():
    config = RunConfig(
        ("demo", "x=y"), "a,b", ("mel",), {"mel": "crnn"}, "gated", ("lr", "dropout"),
        {"train": {"epochs": 3}, "mel": {"families": ["a", "b"]}}, "corpus", 4, 1, 2, "cuda:1",
        ("./p.py",), ("jsonl",), "/cache", True, {"*": "float16"}, "always", 5, None, "speaker",
    )  # fmt: skip
    assert read(config.to_json()) == config


def test_plain_values_are_plain_json():
    config = RunConfig(("demo",), balancers=("lr",), settings={"mel": {"sizes": (1, 2)}})
    plain = config.to_json()
    assert plain["balancers"] == ["lr"] and plain["settings"]["mel"]["sizes"] == [1, 2]
    assert plain == json.loads(json.dumps(plain))
    plain["settings"]["mel"]["sizes"].append(3)
    assert config.settings["mel"]["sizes"] == (1, 2)  # the copy is independent


@pytest.mark.parametrize(
    ("cache", "stored"),
    [
        ("https://me:secret@host:80/cache?x=1", "https://host:80/cache?x=1"),
        ("https://host/cache", "https://host/cache"),
        ("/home/me@work/cache", "/home/me@work/cache"),
        (None, None),
    ],
)
def test_user_and_password_of_a_url_are_not_stored(cache, stored):
    assert RunConfig(("demo",), cache=cache).to_json()["cache"] == stored


def test_ranges_are_stored_as_values():
    ranges = {"train": {"lr": LogUniform(1e-4, 1e-1), "clip": Uniform(0.0, 1.0)}}
    plain = RunConfig(("demo",), space=ranges).to_json()["space"]
    assert plain["train"]["lr"] == LogUniform(1e-4, 1e-1).to_json()
    assert RunConfig(("demo",), space=plain).to_json()["space"] == plain
    assert RunConfig(("demo",)).to_json()["space"] is None


def test_training_settings_are_bound_with_their_defaults():
    config = RunConfig(("demo",), settings={"train": {"epochs": "3", "lr": 0.5}, "mel": {"x": 1}})
    assert config.train == TrainConfig(epochs=3, lr=0.5)
    assert RunConfig(("demo",)).train == TrainConfig()


@pytest.mark.parametrize(
    ("train", "error", "output"),
    [
        ({"epoch": 3}, UnknownNameError, "parameter of train 'epoch'"),
        ({"epochs": "many"}, ParameterError, "train.epochs must be"),
        ({"lr": -1}, ParameterError, "train.lr must be above 0"),
    ],
)
def test_an_unknown_training_setting_is_reported(train, error, output):
    with pytest.raises(error, match=output):
        _ = RunConfig(("demo",), settings={"train": train}).train


def test_the_command_that_computes_the_features_of_a_run():
    config = RunConfig(
        ("a=x y.csv", "demo"), features=("mel", "video"),
        settings={"mel": {"hop": 160}, "train": {}}, cache="/c",
        dtypes={"*": "float16", "mel": "float32"}, plugins=("/p.py",),
        columns={"label": "Emo Class"},
    )  # fmt: skip
    assert config.plugin_words() == " -p /p.py"
    assert config.build_command() == (
        "fusion cache build -p /p.py --data 'a=x y.csv' --data demo --column 'label=Emo Class' "
        "--dtype float16 --dtype mel=float32 --features mel,video --labels shared --cache /c "
        "--set mel.hop=160"
    )
