"""Checked requests: defaults, owners, extractors, models, bound parameters and splits."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from untrained_runs import config_of

from fusion import Modality
from fusion.core.contracts.data import ColumnChoice
from fusion.core.contracts.errors import ParameterError, SplitError, UnknownNameError
from fusion.core.registry.registry import Registry
from fusion.core.runs import plan as planning
from fusion.core.runs.config import RunConfig
from fusion.core.runs.plan import (
    bound_settings,
    check_owners,
    divide,
    make_extractors,
    make_plan,
    make_spec,
    make_trackers,
    plan_without_split,
    read_dataset,
    storage_dtype,
    tracker_names,
    with_defaults,
)


@pytest.fixture(scope="module")
def registry(corpus):
    return Registry(config_of(corpus).plugins)


@pytest.fixture(scope="module")
def plan(corpus, registry):
    return make_plan(config_of(corpus), registry)


# -- complete plans --------------------------------------------------------------------


def test_a_plan_is_complete(plan):
    assert plan.dataset.classes == ("happy", "sad") and len(plan.dataset.clips) == 24
    assert list(plan.extractors) == list(plan.fingerprints) == ["first", "second"]
    assert plan.fingerprints["second"].shape == (3,)
    assert plan.spec.modalities == ["first", "second"]
    (split,) = plan.splits
    assert len(split.train) + len(split.val) + len(split.test) == 24
    assert plan.config.settings["train"]["epochs"] == 2 and plan.config.space is None


def test_a_plan_like_another_reuses_its_clips_features_and_splits(
    corpus, plan, registry, monkeypatch
):
    def no(*_, **__):
        raise AssertionError("asked again")

    monkeypatch.setattr(planning, "load_dataset", no)
    monkeypatch.setattr(planning, "make_splits", no)
    result = make_plan(config_of(corpus, strategy="gated"), registry, like=plan)
    assert result.dataset is plan.dataset and result.splits is plan.splits
    assert result.fingerprints is plan.fingerprints
    assert result.spec.strategy == result.config.strategy == "gated"


def test_a_plan_without_split_can_be_divided_later(corpus, registry, plan):
    result = plan_without_split(config_of(corpus), registry)
    assert result.splits == ()
    assert [s.digest(plan.dataset.clips) for s in divide(result).splits] == [
        s.digest(plan.dataset.clips) for s in plan.splits
    ]


def test_the_split_can_have_a_separate_seed(plan):
    def digests(**changes):
        divided = divide(replace(plan, config=replace(plan.config, folds=3, **changes)))
        return [split.digest(plan.dataset.clips) for split in divided.splits]

    assert len(digests()) == 3
    assert digests(seed=5, split_seed=0) == digests(seed=0) == digests(seed=0, split_seed=0)
    assert digests(seed=5) == digests(seed=5, split_seed=5) != digests(seed=0)


def test_an_impossible_split_names_the_speakers_that_were_merged(plan):
    clips = tuple(replace(clip, speaker="1") for clip in plan.dataset.clips)
    for merged, words in (({}, ""), ({"table": (("01", "1"),)}, "one person: 01 = 1.")):
        dataset = replace(plan.dataset, clips=clips, merged_speakers=merged)
        with pytest.raises(SplitError, match="there is 1") as caught:
            divide(replace(plan, dataset=dataset))
        assert caught.value.hint.startswith("Add recordings of more speakers")
        assert words in caught.value.hint and ("one person" in caught.value.hint) is bool(words)


def test_the_recordings_that_clips_share_are_kept_together(plan):
    config = replace(plan.config, split="random")
    clips = plan.dataset.clips
    for pair in ((0, 7), (3, 20), (5, 11)):
        dataset = replace(plan.dataset, shared_recordings=(pair,))
        (split,) = divide(replace(plan, config=config, dataset=dataset)).splits
        parts = [set(part.tolist()) for part in (split.train, split.val, split.test)]
        assert sum(len(part) for part in parts) == len(clips)
        assert any(set(pair) <= part for part in parts)


def test_more_folds_than_speakers_are_refused(plan):
    with pytest.raises(SplitError, match="6"):
        divide(replace(plan, config=replace(plan.config, folds=7)))


# -- defaults --------------------------------------------------------------------------


def test_default_plugins_fill_in_missing_choices(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = with_defaults(
        RunConfig((), balancers=("none", "lr", "none"), cache="here"), Registry()
    )
    assert (result.data, result.features) == (("demo",), ("levelset", "mel"))
    assert (result.strategy, result.balancers) == ("gated", ("lr",))
    assert result.cache == str(tmp_path / "here")


def test_given_choices_are_kept():
    requested = RunConfig(("x=y",), features=("mfcc",), strategy="concat", cache="https://host/c")
    assert with_defaults(requested, Registry()) == requested
    assert with_defaults(replace(requested, cache=None), Registry()).cache is None
    assert with_defaults(replace(requested, cache="~/c"), Registry()).cache == str(
        Path.home() / "c"
    )


def test_missing_defaults_are_an_error():
    with pytest.raises(ParameterError, match="No strategy was chosen") as caught:
        with_defaults(RunConfig(("demo",)), Registry(["no:gated"]))
    assert "--strategy NAME" in caught.value.hint
    with pytest.raises(ParameterError, match="name of the cache folder is empty"):
        with_defaults(RunConfig(("demo",), cache=""), Registry())


# -- owners of settings ----------------------------------------------------------------


USED = RunConfig(("demo",), features=("mel",), strategy="gated", balancers=("lr",))


@pytest.mark.parametrize(
    "changes",
    [
        {"settings": {o: {} for o in ("mel", "gated", "lr", "branch.mel", "train", "demo")}},
        {"settings": {"jsonl": {}, "ravdess": {}}},  # jsonl always takes part, ravdess may read
        {"dtypes": {"*": "float16", "mel": "float32"}, "branches": {"mel": "crnn"}},
    ],
)
def test_settings_of_plugins_in_use_are_accepted(changes):
    check_owners(replace(USED, **changes), Registry())


@pytest.mark.parametrize(
    ("changes", "error", "output"),
    [
        ({"settings": {"gatd": {}}}, UnknownNameError, "plugin to set a parameter of 'gatd'. Did"),
        ({"settings": {"concat": {}}}, ParameterError, "'concat' takes no part in this run"),
        ({"settings": {"branch.mfcc": {}}}, UnknownNameError, "'branch.mfcc'"),
        ({"settings": {"train": {"lrr": 1}}}, UnknownNameError, "parameter of train 'lrr'"),
        ({"dtypes": {"mfcc": "float16"}}, UnknownNameError, "feature to choose a dtype for 'mfcc'"),
        ({"branches": {"mfcc": "cnn"}}, UnknownNameError, "to choose a branch for 'mfcc'"),
    ],
)
def test_settings_of_other_plugins_are_refused(changes, error, output):
    with pytest.raises(error, match=output):
        check_owners(replace(USED, **changes), Registry())


def test_the_error_lists_the_plugins_in_use():
    with pytest.raises(ParameterError) as caught:
        check_owners(replace(USED, settings={"concat": {}}), Registry())
    assert "branch.mel" in caught.value.hint and "gated, " in caught.value.hint


# -- extractors and clips --------------------------------------------------------------


def test_extractors_have_their_parameters_and_dtypes(corpus, registry):
    dtypes = {"*": "float64", "second": "float16"}
    config = config_of(corpus, {"first": {"scale": "2.5"}}, dtypes=dtypes)
    result = make_extractors(config, registry)
    assert [(e.dtype, e.parameters["scale"]) for e in result.values()] == [
        ("float64", 2.5), ("float16", 1.0)]  # fmt: skip


def test_a_feature_named_twice_is_refused(corpus, registry):
    config = replace(config_of(corpus), features=("first", "second", "first"))
    with pytest.raises(ParameterError, match="named twice: first, second, first"):
        make_extractors(config, registry)


def test_the_dtype_of_a_feature_overrides_the_common_dtype():
    config = RunConfig(("demo",), dtypes={"*": "float16", "mel": "float64"})
    assert storage_dtype(config, "mel") == "float64" and storage_dtype(config, "mfcc") == "float16"
    assert storage_dtype(RunConfig(("demo",)), "mel") is None


def test_sources_labels_and_parameters_are_passed_to_the_corpora(registry, monkeypatch):
    monkeypatch.setattr(planning, "load_dataset", lambda *passed, **named: (passed, named))
    settings = {"demo": {"speakers": "3"}, "mel": {"hop": 1}}
    config = RunConfig(
        ("demo", "table=x.csv"),
        labels="a,b",
        settings=settings,
        columns={"label": "EmoClass"},
        ignored_columns=("age",),
        label_map={"joy": "happy"},
    )
    (sources, corpora), named = read_dataset(config, registry)
    assert [(s.corpus, s.path) for s in sources] == [("demo", None), ("table", Path("x.csv"))]
    assert {"demo", "table"} <= set(corpora)
    assert named == {
        "labels": "a,b",
        "parameters": {"demo": {"speakers": "3"}},
        "columns": ColumnChoice({"label": "EmoClass"}, ("age",)),
        "label_map": {"joy": "happy"},
    }


# -- models ----------------------------------------------------------------------------


ADVISED = SimpleNamespace(
    shape=(1, 16, 32),
    axes=("channel", "frequency", "time"),
    default_branch="cnn",
    default_branch_parameters={"blocks": 2, "channels": 4},
)


def specified(registry, **changes):
    config = replace(RunConfig(("x",), features=("mel",), strategy="gated"), **changes)
    return make_spec(config, registry, {"mel": ADVISED}, 3)


def test_a_default_branch_uses_the_parameters_that_its_extractor_advises(registry):
    spec = specified(registry)
    (branch,) = spec.branches
    assert branch.modality == Modality("mel", (1, 16, 32), ("channel", "frequency", "time"))
    assert (branch.branch, branch.parameters["blocks"], branch.parameters["channels"]) == (
        "cnn", 2, 4)  # fmt: skip
    assert "dim" not in branch.parameters and spec.num_classes == 3
    passed = specified(registry, settings={"branch.mel": {"blocks": "3"}}).branches[0].parameters
    assert (passed["blocks"], passed["channels"]) == (3, 4)  # user settings override the advice


def test_another_branch_ignores_the_advice(registry):
    (branch,) = specified(registry, branches={"mel": "crnn"}).branches
    assert branch.branch == "crnn"
    assert (branch.parameters["blocks"], branch.parameters["channels"]) == (4, 32)  # defaults


def test_balancers_that_change_the_strategy_are_part_of_the_model(registry):
    spec = specified(registry, balancers=("lr", "gradscale"), settings={"train": {"dim": 16}})
    assert spec.adapters == () and spec.dim == 16
    spec = specified(registry, balancers=("lr", "mmcosine"), settings={"mmcosine": {"scale": "3"}})
    assert [(name, passed["scale"]) for name, passed in spec.adapters] == [("mmcosine", 3.0)]


def test_a_run_stores_every_parameter_of_everything_in_use(corpus, registry):
    config = with_defaults(
        config_of(
            corpus, {"gated": {"hidden": "7"}, "table": {"x": 1}, "branch.first": {"hidden": 5}},
            strategy="gated", balancers=("lr",),
        ),
        registry,
    )  # fmt: skip
    extractors = make_extractors(config, registry)
    result = bound_settings(
        config, registry, extractors, make_spec(config, registry, extractors, 2)
    )
    assert set(result) == {"first", "second", "branch.first", "branch.second", "gated", "lr",
                          "jsonl", "train", "table"}  # fmt: skip
    assert result["gated"]["hidden"] == 7 and "gate" in result["gated"]
    assert result["branch.first"]["hidden"] == 5 and result["first"]["scale"] == 1.0
    assert result["train"]["epochs"] == 2 and "lr" in result["train"]
    assert result["table"] == {"x": 1}  # the corpus binds its own parameters


# -- trackers --------------------------------------------------------------------------


def test_default_trackers_and_named_trackers_are_used_once(registry):
    assert tracker_names(RunConfig(("x",), trackers=("jsonl", "jsonl")), registry) == ["jsonl"]
    (tracker,) = make_trackers(RunConfig(("x",)), registry)
    assert tracker.name == "jsonl"
    with pytest.raises(UnknownNameError, match="no tracker 'tensorbord'"):
        make_trackers(RunConfig(("x",), trackers=("tensorbord",)), registry)


# -- stored settings -----------------------------------------------------------------------


@pytest.mark.parametrize(("passed", "stored"), [("product", None), ("persim", "persim")])
def test_an_added_parameter_is_stored_only_if_it_is_not_the_default(
    passed, stored, tmp_path, monkeypatch
):
    """An audit or run of a version without the parameter is still an equal request."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    settings = {"demo": {"speakers": "3", "clips": "1"}, "persistence": {"imager": passed}}
    config = RunConfig(data=("demo",), features=("persistence",), settings=settings)
    plan = plan_without_split(config, Registry())
    result = plan.config.settings["persistence"]
    assert result.get("imager") == stored
    assert result["reduction"] == "lunes"  # every other default is stored
    assert plan.extractors["persistence"].imager == passed
