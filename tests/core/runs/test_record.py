"""run.json as a value: it survives JSON, older versions are read, and damage is reported."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from run_records import feature_of, model_of, record_of, whole_record

from fusion.cache import Fingerprint
from fusion.core.contracts.errors import CacheError, RunError
from fusion.core.runs.config import RunConfig
from fusion.core.runs.record import FORMAT, FeatureRecord, Member, RunRecord

FILE = Path("runs/one/run.json")
WHOLE = json.loads(json.dumps(whole_record().to_json()))


def whole(**changes):
    """Return the plain values of a run.json in which every field is set."""
    return {**json.loads(json.dumps(WHOLE)), **changes}


def read(data):
    return RunRecord.from_json(data, FILE)


# -- written and read ------------------------------------------------------------------


def test_a_record_with_every_field_survives_json():
    record = whole_record()
    again = read(whole())
    assert again == record
    assert again.to_json() == record.to_json()
    assert (again.config.data, again.handed_out[1].group) == (("demo", "table=/clips.csv"), 1)
    assert again.features["a"].shape == (2, 4) and again.modalities == ["a"]


def test_a_record_with_few_fields_survives_json():
    text = json.dumps(record_of().to_json())
    plain = json.loads(text)
    assert not {"task", "trainings", "handed_out"} & set(plain)  # None is not written
    assert json.dumps(read(plain).to_json()) == text
    assert read(plain).handed_out is None


def test_fields_are_in_reading_order():
    names = list(whole_record().to_json())
    assert names[:3] == ["format", "created", "config"] and names[-1] == "handed_out"
    assert names.index("classes") < names.index("features") < names.index("split")


names = st.text(max_size=5)
numbers = st.floats(allow_nan=False, allow_infinity=False)
leaves = st.none() | st.booleans() | st.integers() | numbers | names
values = leaves | st.lists(leaves, max_size=2) | st.dictionaries(names, leaves, max_size=2)


@settings(max_examples=15, deadline=None)
@given(
    classes=st.lists(names, max_size=3).map(tuple),
    given_settings=st.dictionaries(names, st.dictionaries(names, values, max_size=2), max_size=2),
    seconds=st.dictionaries(names, numbers, max_size=2),
    absent=st.dictionaries(names, st.integers(0, 2**40), max_size=2),
    task=st.none() | names,
    weights=st.none() | st.lists(st.tuples(numbers, st.integers(0, 9)), max_size=2),
    seed=st.integers(-(2**60), 2**60),
)
def test_any_record_survives_json(classes, given_settings, seconds, absent, task, weights, seed):
    members = weights and tuple(Member("fold0/a", w, model_of(("a",)), w, g) for w, g in weights)
    record = whole_record(
        classes=classes, seconds=seconds, absent=absent, task=task,
        handed_out=() if weights == [] else members,
        config=RunConfig(("demo",), settings=given_settings, seed=seed),
    )  # fmt: skip
    assert read(json.loads(json.dumps(record.to_json()))) == record


def test_finishing_a_record_changes_only_the_models_and_the_seconds():
    begun = record_of(seconds={"extraction": 1.0})
    member = Member("fold0/a", 1.0, model_of(("a",)))
    finished = begun.finished([member], 12.3456)
    assert finished.handed_out == (member,)
    assert finished.seconds == {"extraction": 1.0, "training": 12.3}
    assert (begun.handed_out, begun.seconds) == (None, {"extraction": 1.0})
    before, after = begun.to_json(), finished.to_json()
    assert {name for name in after if after[name] != before.get(name)} == {"seconds", "handed_out"}


# -- the fingerprint of a feature ------------------------------------------------------


def test_a_feature_record_gives_back_the_fingerprint():
    created = Fingerprint(
        "mel", "2", {"sizes": (1, 2), "ref": "max"}, "float16", (3, 4), {"np": "2"}
    )
    record = FeatureRecord.of(created)
    assert record.parameters == {"sizes": [1, 2], "ref": "max"}  # as in JSON
    again = record.fingerprint("mel")
    assert again == created and again.id == record.id == created.id
    assert record.fingerprint("other").id != created.id


def test_a_feature_record_with_an_invalid_name_is_an_error():
    with pytest.raises(CacheError):
        feature_of().fingerprint("no name")


# -- other versions --------------------------------------------------------------------


def test_a_newer_format_asks_for_an_update():
    with pytest.raises(RunError) as caught:
        read(whole(format=FORMAT + 1))
    assert caught.value.message == (
        f"{FILE.parent} has run format {FORMAT + 1}, but this version reads up to {FORMAT}."
    )
    assert "pip install -U modal-fusion" in caught.value.hint


def test_unknown_fields_are_ignored():
    assert read(whole(news={"x": 1})) == whole_record()


@pytest.mark.parametrize(
    ("given_settings", "start"),
    [
        ({}, "scratch"),
        ({"gated": {"hidden": 4}}, "scratch"),
        ({"train": {"epochs": 3}}, "scratch"),
        ({"train": {"start": "baselines"}}, "baselines"),
    ],
)
def test_format_1_trained_the_fused_model_from_scratch(given_settings, start):
    data = whole(format=1)
    data["config"]["settings"] = given_settings
    config = read(data).config
    assert config.train.start == start
    assert {o: v for o, v in config.settings.items() if o != "train"} == {
        o: v for o, v in given_settings.items() if o != "train"
    }
    assert "scratch" not in str(given_settings)  # the input is unchanged


def test_format_1_without_settings():
    data = whole(format=1)
    del data["config"]["settings"]
    settings = {"train": {"start": "scratch", "windows": "middle"}}
    assert read(data).config.settings == settings


@pytest.mark.parametrize("format", [1, 2])
def test_older_formats_use_the_middle_of_long_clips(format):
    data = whole(format=format)
    assert read(data).config.train.windows == read(data).training["windows"] == "middle"
    data["config"]["settings"]["train"]["windows"] = "random"
    assert read(data).config.train.windows == "random"
    assert read(whole()).config.train.windows == "random"


def test_format_2_adds_no_start():
    data = whole(format=2)
    data["config"]["settings"] = {}
    assert read(data).config.settings == {"train": {"windows": "middle"}}


def test_format_3_adds_nothing():
    data = whole()
    data["config"]["settings"] = {}
    assert read(data).config.settings == {}


def test_a_run_of_version_0_1_has_an_ungrouped_mean():
    data = whole(format=1)
    for member in data["handed_out"]:
        del member["power"], member["group"]
    assert [(m.power, m.group) for m in read(data).handed_out] == [(1.0, None)] * 2


# -- damage ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value", "output"),
    [
        (["config"], ..., "it has no 'config'"),
        (["format"], ..., "it has no 'format'"),
        (["format"], "2", "'format' must be a whole number, and is text"),
        (["classes"], {}, "'classes' must be a list, and is an object"),
        (["seconds", "training"], None, "must be a number, and is null"),
        (["config", "data"], ..., "it has no 'data' in 'config'"),
        (["config", "seed"], "7", "'config.seed' must be a whole number, and is text"),
        (["config", "folds"], 1.5, "'config.folds' must be a whole number or null"),
        (["split", "folds"], None, "'split.folds' must be a whole number, and is null"),
        (["model", "branches", 0, "modality", "shape", 1], "x",
         "'model.branches[0].modality.shape[1]' must be a whole number, and is text"),
        (["handed_out", 1, "spec", "dim"], ..., "it has no 'dim' in 'handed_out[1].spec'"),
    ],
)  # fmt: skip
def test_damage_is_reported_with_file_and_field(path, value, output):
    data = whole()
    place = data
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    if value is ...:
        del place[path[-1]]
    with pytest.raises(RunError) as caught:
        read(data)
    assert caught.value.message.startswith(f"{FILE} is damaged: ")
    assert output in caught.value.message


def places(value):
    """Yield every position in a JSON value, as its container and its key."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for step, contents in list(inner):
        yield value, step
        if isinstance(contents, dict | list):
            yield from places(contents)


@pytest.mark.parametrize("format", [1, 2, 3])
def test_a_damaged_field_is_accepted_or_an_error_that_names_the_file(format):
    data = whole(format=format)
    tried = refused = 0
    for holder, step in list(places(data)):
        stored = dict(holder) if isinstance(holder, dict) else list(holder)
        for value in (..., None, [], {}, "x", 1.5):
            if value is ...:
                del holder[step]
            else:
                holder[step] = value
            tried += 1
            try:
                read(data)
            except RunError as error:
                refused += 1
                assert str(FILE) in error.message, (step, value)
            if isinstance(holder, dict):
                holder.clear()
                holder.update(stored)
            else:
                holder[:] = stored
    assert data == whole(format=format)
    assert tried > 700 and tried / 3 < refused < tried


@settings(max_examples=30, deadline=None)
@given(st.data(), values)
def test_any_value_anywhere_is_accepted_or_an_error_that_names_the_file(draw, value):
    data = whole(format=draw.draw(st.sampled_from([1, 2, 3])))
    holder, step = draw.draw(st.sampled_from(list(places(data))))
    holder[step] = value
    try:
        read(data)
    except RunError as error:
        assert str(FILE.parent) in error.message


@pytest.mark.parametrize("name", ["../../../x", "/tmp/x", "a/b", ".x", "", "a\0b"])
def test_names_that_lead_out_of_the_run_directory_are_refused(name):
    plain = json.loads(json.dumps(whole_record().to_json()))
    for change in (
        {"config": plain["config"] | {"features": [name]}},
        {"features": {name: plain["features"]["a"]}},
        {"handed_out": [plain["handed_out"][0] | {"training": f"fold0/{name}"}]},
        {"handed_out": [plain["handed_out"][0] | {"training": name}]},
    ):
        with pytest.raises(RunError, match="is damaged"):
            RunRecord.from_json(plain | change, Path("run.json"))


@pytest.mark.parametrize("folds", [0, -1, 10**12])
def test_an_impossible_number_of_folds_is_refused(folds):
    plain = json.loads(json.dumps(whole_record().to_json()))
    plain["split"]["folds"] = folds
    with pytest.raises(RunError, match="folds"):
        RunRecord.from_json(plain, Path("run.json"))
