"""Features of a request's clips: computed ones, clips that are left out, and errors."""

from dataclasses import replace

import numpy as np
import pytest
from untrained_runs import PLUGIN, config_of, write_corpus

from fusion.cache import FeatureCache, open_workers
from fusion.cache.fingerprint import digest_many
from fusion.core.contracts.errors import CorpusError, ParameterError, PluginError, SplitError
from fusion.core.registry.registry import Registry
from fusion.core.runs.feature_build import build_cache, build_features, extract
from fusion.core.runs.plan import make_extractors, make_plan


def planned(folder, plugin=PLUGIN, changed=None, **changes):
    """Return the plan of a run on a corpus; `changed` replaces the content of some recordings."""
    write_corpus(folder, **(changed or {}))
    (folder / "numbers_plugin.py").write_text(plugin)
    config = config_of(folder, **changes)
    return make_plan(config, Registry(config.plugins))


def parts_of(plan, clips, splits):
    """Return the names of the clips in each part, by fold."""
    return [{part: [clips[i].name for i in getattr(split, part)]
             for part in ("train", "val", "test")} for split in splits]  # fmt: skip


def test_features_are_computed_once_for_every_clip(tmp_path):
    plan, message = planned(tmp_path, folds=3), []
    result = extract(plan, jobs=1, on_progress=message.append)
    assert (result.report.computed, result.report.present) == (48, 0)
    assert [(p.done, p.total, p.failed) for p in (message[0], message[-1])] == [
        (0, 48, 0),
        (48, 48, 0),
    ]
    data = result.data
    assert data.clips == plan.dataset.clips and data.classes == ("happy", "sad")
    assert data.targets.tolist() == plan.dataset.targets().tolist() and data.absent == {}
    assert parts_of(plan, data.clips, data.splits) == parts_of(plan, data.clips, plan.splits)
    cache = FeatureCache(plan.config.cache)
    arrays = cache.open(plan.fingerprints["first"], data.keys).load()
    place = [clip.name for clip in data.clips].index("s2-sad-1.wav")
    assert arrays[place].tolist() == [7, 3]
    again = extract(plan, jobs=1)
    assert (again.report.computed, again.report.present) == (0, 48)


def test_an_unreadable_recording_is_left_out_of_every_part(tmp_path):
    plan = planned(tmp_path, changed={"s1_sad_0": "a word | 1 2 3"}, folds=3)
    result = extract(plan, jobs=1)
    data = result.data
    assert len(data.clips) == len(data.keys) == len(data.targets) == 23
    assert [f.feature for f in result.report.failures] == ["first"]
    assert parts_of(plan, data.clips, data.splits) == [
        {part: [name for name in names if name != "s1-sad-0.wav"] for part, names in fold.items()}
        for fold in parts_of(plan, plan.dataset.clips, plan.splits)
    ]
    labels = [data.classes[t] for t in data.targets]
    assert labels == [clip.label for clip in data.clips]
    places = [(c.recording.path, c.recording.start, c.recording.end) for c in data.clips]
    assert list(data.keys) == digest_many(places)


def test_a_clip_that_lacks_one_feature_is_kept_and_one_that_lacks_all_is_not(tmp_path):
    plan = planned(tmp_path, changed={"s0_sad_0": "1 2 |", "s3_happy_1": " | "})
    result = extract(plan, jobs=1)
    names = [clip.name for clip in result.data.clips]
    assert len(names) == 23 and "s3-happy-1.wav" not in names
    assert list(result.data.absent) == ["second"]
    assert np.flatnonzero(result.data.absent["second"]).tolist() == [names.index("s0-sad-0.wav")]
    (failure,) = result.report.failures
    assert "s3-happy-1.wav" in str(failure.source)


def test_strict_stops_at_the_first_failure(tmp_path):
    plan = planned(tmp_path, changed={"s3_happy_1": " | "})
    with pytest.raises(CorpusError, match="1 recordings have none of the features") as caught:
        extract(replace(plan, config=replace(plan.config, strict=True)), jobs=1)
    assert "s3-happy-1.wav" in caught.value.message and "--strict" in caught.value.hint


def test_strict_accepts_a_clip_that_lacks_one_feature(tmp_path):
    plan = planned(tmp_path, changed={"s0_sad_0": "1 2 |"}, strict=True)
    assert len(extract(plan, jobs=1).data.clips) == 24


def test_no_readable_recording(tmp_path):
    names = [f"s{s}_{label}_{k}" for s in range(6) for label in ("happy", "sad") for k in (0, 1)]
    with pytest.raises(CorpusError, match="No recording can be read. First failure: Can't read"):
        extract(planned(tmp_path, changed=dict.fromkeys(names, "no | numbers")), jobs=1)


def test_readable_clips_must_be_enough_to_train_on(tmp_path):
    plan = planned(tmp_path)
    clips, (split,) = plan.dataset.clips, plan.splits
    sad = [clips[i].name for i in split.train if clips[i].label == "sad"]
    for name in sad:
        (tmp_path / name).write_text(f"{name} | 1 2 3")  # different content in each
    with pytest.raises(SplitError) as caught:
        extract(plan, jobs=1)
    assert caught.value.message.startswith(
        f"{len(sad)} recordings can't be read or have none of the features. Without them: "
        "The part train needs clips of every class."
    )
    assert (
        caught.value.hint.startswith("First of these recordings: ") and ".wav" in caught.value.hint
    )


def test_clips_that_have_a_feature_must_be_enough_to_train_on(tmp_path):
    plan = planned(tmp_path)
    clips, (split,) = plan.dataset.clips, plan.splits
    for number, i in enumerate(split.train):
        if clips[i].label == "sad":
            (tmp_path / clips[i].name).write_text(f"{number} {number} | ")
    with pytest.raises(
        SplitError, match="clips have no second. Without these clips: The part train"
    ):
        extract(plan, jobs=1)


def test_an_error_of_the_plugin_is_not_counted_as_a_failed_recording(tmp_path):
    plan = planned(tmp_path, PLUGIN.replace('"second", (3,)', '"second", (4,)'))
    with pytest.raises(PluginError, match="second") as caught:
        extract(plan, jobs=1)
    assert "PluginError" not in caught.value.message


def test_parts_of_a_corpus_are_built_separately(tmp_path):
    config = planned(tmp_path).config
    registry = Registry(config.plugins)
    parts = [build_cache(config, registry, jobs=1, part=(i, 3)) for i in (1, 2, 3)]
    assert [p.report.computed for p in parts] == [16, 16, 16]
    assert build_cache(config, registry, jobs=1).report.computed == 0


def test_a_build_needs_no_split_and_no_model_but_checks_owners(tmp_path):
    write_corpus(tmp_path, speakers=1)  # too few for any split
    config = config_of(tmp_path)
    assert build_cache(config, Registry(config.plugins), jobs=1).report.computed == 8
    with pytest.raises(ParameterError, match="'gated' takes no part in this run"):
        wrong = replace(config, settings={"gated": {"hidden": 3}})
        build_cache(wrong, Registry(config.plugins), jobs=1)


def test_recordings_with_the_same_content_have_one_key(tmp_path):
    plan = planned(tmp_path, changed={"s0_sad_0": "1 2 | 3 4 5", "s0_sad_1": "1 2 | 3 4 5"})
    with open_workers(jobs=1) as on:
        keys, report, *_ = build_features(
            plan.config, make_extractors(plan.config, Registry(plan.config.plugins)),
            plan.dataset.clips, on=on, on_progress=None,
        )  # fmt: skip
    assert len(keys) == 24 and len(set(keys)) == 23
    assert report.computed == 46
