"""Reasons why features of a recording or a run are in the cache or not."""

from dataclasses import replace

import pytest
from untrained_runs import config_of, untrained_run, write_corpus

from fusion.cache import digest_recording
from fusion.core.contracts.errors import ParameterError, UnknownNameError, UserError
from fusion.core.runs.run import Run
from fusion.core.workflows.cache_status import why_clip, why_run


def kinds(reasons):
    return {reason.feature: reason.answer.kind for reason in reasons}


# -- one recording ---------------------------------------------------------------------


def test_cached_features_are_found_by_path_and_by_key(made, corpus):
    path = corpus / "s1-sad-0.wav"
    for clip in (str(path), digest_recording(path, 0.0, None)):
        reasons = why_clip(made.config, made.registry, clip)
        assert kinds(reasons) == {"first": "found", "second": "found"}
        assert [reason.names for reason in reasons] == [(clip,)] * 2


def test_a_feature_that_would_be_computed_differently_is_reported(made, corpus):
    config = replace(made.config, settings={"first": {"scale": "2"}})
    first, second = why_clip(config, made.registry, str(corpus / "s1-sad-0.wav"))
    assert second.answer.kind == "found"
    assert first.answer.kind == "fingerprint"
    assert [(d.field, d.stored, d.wanted) for d in first.answer.differences] == [
        ("parameters.scale", 1.0, 2.0)
    ]


def test_a_recording_that_was_never_computed_and_one_that_has_changed(tmp_path):
    write_corpus(tmp_path)
    run = untrained_run(tmp_path, tmp_path / "run")
    (tmp_path / "new.wav").write_text("7 7 | 7 7 7")
    found = why_clip(run.config, run.registry, str(tmp_path / "new.wav"))
    assert kinds(found) == {"first": "recording", "second": "recording"}
    (tmp_path / "s0-sad-0.wav").write_text("8 8 | 8 8 8")
    changed = why_clip(run.config, run.registry, str(tmp_path / "s0-sad-0.wav"))
    assert kinds(changed) == {"first": "content", "second": "content"}
    part = why_clip(run.config, run.registry, f"{tmp_path / 's1-sad-0.wav'}#t=0,1")
    assert set(kinds(part).values()) == {"recording"}  # a part is another recording
    empty = replace(run.config, cache=str(tmp_path / "empty"))
    assert set(kinds(why_clip(empty, run.registry, "0" * 32)).values()) == {"feature"}


def test_an_argument_that_is_no_recording_is_refused_with_a_hint(made, tmp_path):
    with pytest.raises(UserError, match="The recording nowhere.wav does not exist") as caught:
        why_clip(made.config, made.registry, "nowhere.wav")
    assert "#t=START,END" in caught.value.hint
    with pytest.raises(UserError, match="The folder .* is not a run directory"):
        why_clip(made.config, made.registry, str(tmp_path))


def test_a_wrong_request_is_refused(made):
    with pytest.raises(ParameterError, match="'gated' takes no part"):
        config = replace(made.config, settings={"gated": {"hidden": 1}})
        why_clip(config, made.registry, "0" * 32)
    with pytest.raises(UnknownNameError, match="no extractor 'frist'. Did you mean 'first'"):
        why_clip(replace(made.config, features=("frist",), settings={}), made.registry, "0" * 32)


# -- one run ---------------------------------------------------------------------------


def test_all_features_of_a_run_are_found(made):
    found = why_run(made)
    assert found.changed == {} and found.absent == {}
    assert [(r.feature, r.answer.kind, len(r.names)) for r in found.reasons] == [
        ("first", "found", 24), ("second", "found", 24)]  # fmt: skip


def test_another_cache_can_be_named(made, tmp_path):
    found = why_run(made, str(tmp_path / "other"))
    assert kinds(found.reasons) == {"first": "feature", "second": "feature"}
    assert kinds(why_run(made).reasons) == {"first": "found", "second": "found"}


def test_extractors_that_changed_since_the_run_are_reported(copied):
    feature = replace(copied.record.features["second"], version="0")
    features = {**copied.record.features, "second": feature}
    copied.write_json("run.json", replace(copied.record, features=features).to_json())
    found = why_run(Run.open(copied.path, copied.registry))
    assert list(found.changed) == ["second"]
    assert [(d.field, d.stored, d.wanted) for d in found.changed["second"]] == [
        ("version", "0", "1")
    ]
    assert kinds(found.reasons) == {"first": "found", "second": "found"}


def test_clips_with_the_same_reason_are_grouped_by_size(tmp_path):
    write_corpus(tmp_path, s3_sad_1="1 2 |", s4_sad_1="1 3 |")
    run = untrained_run(tmp_path, tmp_path / "run", config_of(tmp_path))
    found = why_run(run)
    assert found.absent == {"second": 2}
    assert [(r.feature, len(r.names)) for r in found.reasons] == [("first", 24), ("second", 22)]
    assert "s3-sad-1.wav" not in found.reasons[1].names
    for shard in sorted((tmp_path / "cache").rglob("*.h5"))[:1]:
        shard.unlink()
    parts = why_run(Run.open(run.path, run.registry)).reasons
    for feature, total in (("first", 24), ("second", 22)):
        own = [len(reason.names) for reason in parts if reason.feature == feature]
        assert sum(own) == total and own == sorted(own, reverse=True)
    assert {reason.answer.kind for reason in parts} > {"found"}
