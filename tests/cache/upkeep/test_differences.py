from __future__ import annotations

from pathlib import Path

import pytest
from cache_computations import SHAPE, array_of

from fusion.cache import FeatureCache, Fingerprint
from fusion.cache.errors import CacheError
from fusion.cache.shards.catalogue import Catalogue
from fusion.cache.shards.rows import Label
from fusion.cache.upkeep.differences import ABSENT, Answer, Difference, Explainer, differences


def made(version: str = "1", library: str = "2.0", **parameters: object) -> Fingerprint:
    passed = {"hop": 256, "bands": [1, 2], **parameters}
    return Fingerprint("mel", version, passed, "float32", SHAPE, {"librosa": library})  # type: ignore[arg-type]


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    """A cache with `a` for hop 256, `b` for hop 160 and an older library, and `c` for both."""
    cache = FeatureCache(tmp_path / "cache")
    cache.add(made(), ["a", "c"], [array_of(0), array_of(1)], origins=["/a.wav", "/c.wav"])
    other = made(library="1.0", hop=160)
    cache.add(other, ["b", "c"], [array_of(2), array_of(3)], origins=["/b.wav", "/c.wav"])
    return cache


def test_differences_of_fingerprints() -> None:
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
        Difference("libraries.scipy", ABSENT, "1"),
        Difference("parameters.bands", [1, 2], ABSENT),
        Difference("parameters.hop", 256, 256.0),
        Difference("parameters.ref", ABSENT, "max"),
        Difference("shape", [3, 5], [3, 4]),
        Difference("version", "1", "2"),
    )


def test_no_value_equals_absent() -> None:
    for value in ("nothing", "absent", "(absent)", None):
        (result,) = differences(made(), made(ref=value))
        assert result == Difference("parameters.ref", ABSENT, value)
        assert result.stored != result.wanted


def test_a_stored_item_is_found(cache: FeatureCache) -> None:
    answer = Explainer(cache, made()).explain("a")
    assert (answer.kind, answer.origin, answer.key) == ("found", "/a.wav", "a")
    assert (cache.root / answer.place).is_file()


def test_an_item_of_another_fingerprint_is_found(cache: FeatureCache) -> None:
    answer = Explainer(cache, made()).explain("b")
    assert answer.kind == "fingerprint"
    assert answer.differences == (
        Difference("libraries.librosa", "1.0", "2.0"),
        Difference("parameters.hop", 160, 256),
    )
    assert answer.place.startswith(cache.folder(made(library="1.0", hop=160)).name)


def test_the_nearest_fingerprint_with_the_recording_is_chosen(cache: FeatureCache) -> None:
    wanted = made(hop=161)
    assert Explainer(cache, wanted).explain("c").differences == (
        Difference("parameters.hop", 256, 161),
    )
    # `b` is stored only under a fingerprint with two differences.
    assert len(Explainer(cache, wanted).explain("b").differences) == 2


def test_a_recording_with_other_content_is_found(cache: FeatureCache) -> None:
    answer = Explainer(cache, made()).explain("new", "/a.wav")
    assert (answer.kind, answer.key, answer.differences) == ("content", "a", ())
    answer = Explainer(cache, made()).explain("new", "/b.wav")
    assert (answer.kind, answer.key, len(answer.differences)) == ("content", "b", 2)


def test_an_item_that_was_never_computed(cache: FeatureCache) -> None:
    assert Explainer(cache, made()).explain("new", "/new.wav") == Answer("recording")
    nearest = Explainer(cache, made(version="2")).explain("new")
    assert nearest.kind == "recording"
    assert nearest.differences == (Difference("version", "1", "2"),)
    assert nearest.place == cache.folder(made()).name


def test_a_feature_of_another_name(cache: FeatureCache, tmp_path: Path) -> None:
    other = Fingerprint("mfcc", "1", {}, "float32", SHAPE, {})
    assert Explainer(cache, other).explain("a", "/a.wav") == Answer("feature")
    assert Explainer(FeatureCache(tmp_path / "none"), made()).explain("a") == Answer("feature")
    # An empty folder that a build prepared does not count.
    cache.prepare(Fingerprint("mfcc", "0", {}, "float32", SHAPE, {}))
    assert Explainer(cache, other).explain("a") == Answer("feature")


def test_origins_are_read_once(cache: FeatureCache, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    label = Catalogue.label

    def counted(self: Catalogue, position: int) -> Label:
        read.append(position)
        return label(self, position)

    explainer = Explainer(cache, made())
    monkeypatch.setattr(Catalogue, "label", counted)
    kinds = [explainer.explain("new", f"/{n}.wav").kind for n in range(50)]
    assert kinds == ["recording"] * 50
    assert len(read) == 4  # items


# -- on another machine --------------------------------------------------------------


@pytest.fixture
def there(cache: FeatureCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FeatureCache:
    """A cache that reads `cache` as another machine; its local folder is empty."""
    pytest.importorskip("fsspec")
    monkeypatch.setenv("FUSION_CACHE", str(tmp_path / "local"))
    return FeatureCache(cache.root.as_uri())


def test_items_of_the_other_machine_are_found(there: FeatureCache, cache: FeatureCache) -> None:
    url = cache.root.as_uri()
    answer = Explainer(there, made()).explain("a")
    assert (answer.kind, answer.url, answer.origin) == ("found", url, "/a.wav")
    assert (cache.root / answer.place).is_file()
    answer = Explainer(there, made()).explain("b")
    assert (answer.kind, answer.url, len(answer.differences)) == ("fingerprint", url, 2)
    answer = Explainer(there, made()).explain("new", "/a.wav")
    assert (answer.kind, answer.url, answer.key) == ("content", url, "a")
    answer = Explainer(there, made(version="2")).explain("new")
    assert (answer.kind, answer.url) == ("recording", url)
    assert Explainer(there, Fingerprint("x", "1", {}, "float32", (1,), {})).explain("a") == Answer(
        "feature"
    )


def test_local_items_are_found_without_the_other_machine(
    there: FeatureCache, cache: FeatureCache
) -> None:
    there.fetch(made(), ["a"])
    cache.root.rename(cache.root.with_name("off"))
    answer = Explainer(there, made()).explain("a")
    assert (answer.kind, answer.url) == ("found", "")
    with pytest.raises(CacheError, match="There is no cache at"):
        Explainer(there, made()).explain("c")
