from __future__ import annotations

from pathlib import Path

import pytest
from cache_computations import SHAPE, array_of

from fusion.cache import FeatureCache, Fingerprint
from fusion.cache.why import Answer, Difference, Explainer, differences


def made(version: str = "1", library: str = "2.0", **parameters: object) -> Fingerprint:
    given = {"hop": 256, "bands": [1, 2], **parameters}
    return Fingerprint("mel", version, given, "float32", SHAPE, {"librosa": library})  # type: ignore[arg-type]


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    """`a` with hop 256, `b` with hop 160 and an older library, `c` with both."""
    cache = FeatureCache(tmp_path)
    cache.add(made(), ["a", "c"], [array_of(0), array_of(1)], origins=["/a.wav", "/c.wav"])
    other = made(library="1.0", hop=160)
    cache.add(other, ["b", "c"], [array_of(2), array_of(3)], origins=["/b.wav", "/c.wav"])
    return cache


def test_differences() -> None:
    assert differences(made(), made()) == ()
    assert differences(made(), made(library="3")) == (Difference("libraries.librosa", "2.0", "3"),)
    wanted = Fingerprint(
        "mel",
        "2",
        {"hop": 256.0, "ref": "max"},
        "float16",
        (3, 4),
        {"librosa": "2.0", "scipy": "1"},
    )
    assert differences(made(), wanted) == (
        Difference("dtype", "float32", "float16"),
        Difference("libraries.scipy", "nothing", "1"),
        Difference("parameters.bands", [1, 2], "nothing"),
        Difference("parameters.hop", 256, 256.0),
        Difference("parameters.ref", "nothing", "max"),
        Difference("shape", [3, 5], [3, 4]),
        Difference("version", "1", "2"),
    )


def test_found(cache: FeatureCache) -> None:
    answer = Explainer(cache, made()).explain("a")
    assert (answer.kind, answer.origin, answer.key) == ("found", "/a.wav", "a")
    assert (cache.root / answer.place).is_file()


def test_made_another_way(cache: FeatureCache) -> None:
    answer = Explainer(cache, made()).explain("b")
    assert answer.kind == "fingerprint"
    assert answer.differences == (
        Difference("libraries.librosa", "1.0", "2.0"),
        Difference("parameters.hop", 160, 256),
    )
    assert answer.place.startswith(cache.folder(made(library="1.0", hop=160)).name)


def test_the_nearest_that_has_the_recording_counts(cache: FeatureCache) -> None:
    wanted = made(hop=161)
    assert Explainer(cache, wanted).explain("c").differences == (
        Difference("parameters.hop", 256, 161),
    )
    # `b` exists only with two differences.
    assert len(Explainer(cache, wanted).explain("b").differences) == 2


def test_another_content(cache: FeatureCache) -> None:
    answer = Explainer(cache, made()).explain("new", "/a.wav")
    assert (answer.kind, answer.key, answer.differences) == ("content", "a", ())
    answer = Explainer(cache, made()).explain("new", "/b.wav")
    assert (answer.kind, answer.key, len(answer.differences)) == ("content", "b", 2)


def test_never_computed(cache: FeatureCache) -> None:
    assert Explainer(cache, made()).explain("new", "/new.wav") == Answer("recording")
    nearest = Explainer(cache, made(version="2")).explain("new")
    assert nearest.kind == "recording"
    assert nearest.differences == (Difference("version", "1", "2"),)
    assert nearest.place == cache.folder(made()).name


def test_nothing_of_this_name(cache: FeatureCache, tmp_path: Path) -> None:
    other = Fingerprint("mfcc", "1", {}, "float32", SHAPE, {})
    assert Explainer(cache, other).explain("a", "/a.wav") == Answer("feature")
    assert Explainer(FeatureCache(tmp_path / "none"), made()).explain("a") == Answer("feature")
    # A folder that a build made ready and then wrote nothing to is nothing.
    cache.prepare(Fingerprint("mfcc", "0", {}, "float32", SHAPE, {}))
    assert Explainer(cache, other).explain("a") == Answer("feature")
