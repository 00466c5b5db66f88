from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fusion.cache import FeatureCache, Fingerprint, Item, build, digest_recording
from fusion.cache.exchange.imports import import_feature
from fusion.core.contracts import Recording
from fusion.core.contracts.errors import (
    CacheError,
    ParameterError,
    RecordingError,
    UnknownNameError,
)
from fusion.core.data.extraction import computation_of, fingerprint_of
from fusion.core.data.imported_features import Imported, name_problem
from fusion.core.registry.registry import Registry
from fusion.core.runs.config import RunConfig
from fusion.core.runs.plan import make_extractors


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Folder with three recordings, two of which have an imported vector of five numbers, video."""
    for n in range(3):
        (tmp_path / f"{n}.wav").write_bytes(b"sound %d" % n)
        np.save(tmp_path / f"{n}.npy", np.full(5, n, np.float32))
    (tmp_path / "video.csv").write_text("path,feature\n0.wav,0.npy\n1.wav,1.npy\n")
    import_feature(FeatureCache(tmp_path / "cache"), "video", tmp_path / "video.csv")
    return tmp_path


def config(root: Path, *features: str, **more: Any) -> RunConfig:
    return RunConfig(("demo",), features=features, cache=str(root / "cache"), **more)


def video(root: Path, registry: Registry, **more: Any) -> Any:
    return make_extractors(config(root, "video", **more), registry)["video"]


def test_an_imported_feature_replaces_an_extractor(root: Path, registry: Registry) -> None:
    extractors = make_extractors(config(root, "mel", "video"), registry)
    assert list(extractors) == ["mel", "video"]
    result = extractors["video"]
    assert isinstance(result, Imported)
    assert (result.name, result.version, result.shape, result.dtype) == (
        "video",
        "1",
        (5,),
        "float32",
    )
    assert result.parameters == {"version": "1"}
    stored = Fingerprint("video", "1", {"imported": True}, "float32", (5,), {})
    assert fingerprint_of(result) == stored


def test_arrays_are_found_by_content(root: Path, registry: Registry) -> None:
    result = video(root, registry)
    np.testing.assert_array_equal(result.extract(Recording(root / "1.wav")), np.ones(5, np.float32))
    (root / "1.wav").rename(root / "renamed.wav")
    np.testing.assert_array_equal(result.extract(Recording(root / "renamed.wav")), np.ones(5))
    with pytest.raises(RecordingError, match="no array of 'video' was imported for .*2.wav$"):
        result.extract(Recording(root / "2.wav"))
    with pytest.raises(RecordingError, match="from 0.5 s to its end"):  # another recording
        result.extract(Recording(root / "0.wav", 0.5))
    with pytest.raises(RecordingError, match="Can't read .*none.wav"):
        result.extract(Recording(root / "none.wav"))


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_build_uses_imported_arrays_and_reports_missing_ones(
    root: Path, registry: Registry, jobs: int
) -> None:
    computation = computation_of(video(root, registry))
    assert pickle.loads(pickle.dumps(computation)).fingerprint == computation.fingerprint
    paths = [root / f"{n}.wav" for n in range(3)]
    items = [Item(digest_recording(path), Recording(path)) for path in paths]
    report = build(FeatureCache(root / "cache"), [(computation, items)], jobs=jobs)
    assert (report.computed, report.present) == (0, 2)
    assert not report.failures
    (item,) = report.absent
    assert item.source == Recording(paths[2])
    assert item.reason.startswith("no array of 'video' was imported for")


def test_one_of_several_versions_must_be_chosen(root: Path, registry: Registry) -> None:
    cache = FeatureCache(root / "cache")
    import_feature(cache, "video", root / "video.csv", version="2", dtype="float16")
    with pytest.raises(ParameterError, match=r"several imports of 'video': 1 \(float32 .*2 \(flo"):
        video(root, registry)
    for version, dtype in (("1", "float32"), ("2", "float16")):
        result = video(root, registry, settings={"video": {"version": version}})
        assert (result.version, result.dtype) == (version, dtype)
    with pytest.raises(UnknownNameError, match="no version of video '3'. Known: 1, 2"):
        video(root, registry, settings={"video": {"version": "3"}})


def test_only_the_version_can_be_set(root: Path, registry: Registry) -> None:
    with pytest.raises(UnknownNameError, match="parameter of video 'hop'. Known: version"):
        video(root, registry, settings={"video": {"hop": "3"}})


def test_the_dtype_of_an_import_can_not_be_changed(root: Path, registry: Registry) -> None:
    with pytest.raises(
        ParameterError, match="imported as float32; its dtype can't be changed"
    ) as error:
        video(root, registry, dtypes={"video": "float16"})
    assert "--dtype float16" in str(error.value.hint)
    extractors = make_extractors(config(root, "mel", "video", dtypes={"*": "float16"}), registry)
    assert [e.dtype for e in extractors.values()] == ["float16", "float32"]  # applies to mel only


def test_the_error_on_an_unknown_name_lists_imported_features(
    root: Path, registry: Registry
) -> None:
    with pytest.raises(
        UnknownNameError, match="no extractor 'vido'. Did you mean 'video'"
    ) as error:
        make_extractors(config(root, "vido"), registry)
    assert "mel" in error.value.message and "fusion cache import" in str(error.value.hint)


def test_a_plugin_takes_precedence_over_an_imported_feature(root: Path, registry: Registry) -> None:
    import_feature(FeatureCache(root / "cache"), "mel", root / "video.csv")
    result = make_extractors(config(root, "mel"), registry)["mel"]
    assert not isinstance(result, Imported)


def test_a_broken_plugin_is_not_replaced_silently(
    root: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fusion.core.registry.registry import Problem, Source

    broken = Problem(Source("video", "video-plugin", "1"), "its import failed")
    monkeypatch.setattr(registry, "problems", [broken])
    with pytest.raises(UnknownNameError) as error:
        video(root, registry)
    assert "its import failed" in str(error.value.hint)


def test_complex_numbers_are_refused(root: Path, registry: Registry) -> None:
    cache = FeatureCache(root / "cache")
    import_feature(cache, "spectrum", root / "video.csv", dtype="complex64")
    with pytest.raises(ParameterError, match="'spectrum' holds complex numbers"):
        make_extractors(config(root, "spectrum"), registry)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("mel", "plugin 'mel' .* gives that name to its extractor"),
        ("table", "gives that name to its corpus"),
        ("gated", "gives that name to its strategy"),
        ("Video", "lower-case"),
        ("my.video", "lower-case"),
        ("2d", "lower-case"),
        ("fused", "'fused' is reserved"),
        ("train", "'train' is reserved"),
        ("keys", "'keys' is reserved"),
    ],
)
def test_invalid_names_are_refused(root: Path, registry: Registry, name: str, problem: str) -> None:
    import re

    assert re.search(problem, str(name_problem(name, registry)))
    if name != "mel":  # for mel, the plugin is used
        import_feature(FeatureCache(root / "cache"), name, root / "video.csv")
        with pytest.raises(ParameterError, match=f"'{name}' can't be used in a run: .*{problem}"):
            make_extractors(config(root, name), registry)


def test_imported_features_of_another_machine(
    root: Path, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fsspec")
    monkeypatch.setenv("FUSION_CACHE", str(tmp_path / "local"))
    present = RunConfig(("demo",), features=("video",), cache=(root / "cache").as_uri())
    result = make_extractors(present, registry)["video"]
    np.testing.assert_array_equal(result.extract(Recording(root / "1.wav")), np.ones(5))
    assert FeatureCache(tmp_path / "local").missing(
        fingerprint_of(result), [digest_recording(root / f"{n}.wav") for n in range(2)]
    ) == [digest_recording(root / "0.wav")]  # the requested array is now local
    with pytest.raises(RecordingError, match="no array of 'video' was imported"):
        result.extract(Recording(root / "2.wav"))


def test_a_local_version_needs_no_other_machine(
    root: Path, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fsspec")
    monkeypatch.setenv("FUSION_CACHE", str(tmp_path / "local"))
    present = RunConfig(("demo",), features=("video",), cache=(root / "cache").as_uri())
    with_version = replace(present, settings={"video": {"version": "1"}})
    make_extractors(with_version, registry)["video"].extract(Recording(root / "1.wav"))
    (root / "cache").rename(tmp_path / "off")
    result = make_extractors(with_version, registry)["video"]
    np.testing.assert_array_equal(result.extract(Recording(root / "1.wav")), np.ones(5))
    another = replace(present, settings={"video": {"version": "2"}})
    for asks in (present, another):  # the version may exist only on the other machine
        with pytest.raises(CacheError, match="There is no cache at"):
            make_extractors(asks, registry)


def test_a_build_does_not_read_the_catalogue_again(
    root: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = video(root, registry)

    def look(*_: Any) -> None:
        raise AssertionError("read a catalogue")

    monkeypatch.setattr(FeatureCache, "catalogue", look)
    with pytest.raises(RecordingError, match="no array of 'video' was imported for .*2.wav$"):
        result.compute(Recording(root / "2.wav"))


def test_valid_names_are_accepted(registry: Registry) -> None:
    assert name_problem("video_2", registry) is None
