"""Report panels of level sets: spectrogram with peaks, diagrams, barcodes, contours."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from fusion import Recording
from fusion.plugins.extractors.levelset import CONTOURS, LevelSet, contours


@pytest.fixture
def recording(tmp_path):
    samples = np.random.default_rng(0).normal(size=4000) * np.linspace(0, 0.3, 4000)
    soundfile.write(tmp_path / "a.wav", samples, 16000)
    return Recording(tmp_path / "a.wav")


def test_kinds_of_panels(recording):
    extractor = LevelSet()
    panels = extractor.panels(extractor.extract(recording), recording)
    assert [p.kind for p in panels] == [
        "image", "diagram", "diagram", "bars", "diagram", "bars", *["curve"] * 5, "image"
    ]  # fmt: skip
    names = list(panels[1].data)
    assert names == ["0-760 Hz", "760-1689 Hz", "1689-3654 Hz", "3654-8000 Hz"]
    for panel in panels[2:6]:
        assert list(panel.data) == names


def test_rings_mark_the_longest_peaks(recording):
    extractor = LevelSet()
    surface = extractor.panels(extractor.extract(recording), recording)[0]
    heights, rings = surface.data[""], surface.marks[""]
    np.testing.assert_array_equal(heights, extractor.heights(recording))
    bars = [b for name, b in extractor.diagrams(recording).items() if name.endswith("H0")]
    every = np.concatenate(bars)
    longest = every[np.argsort(every[:, 1] - every[:, 0])[: len(rings)]]
    assert len(rings) == 24
    assert sorted(heights[row, column] for column, row in rings) == sorted(longest[:, 0])


def test_diagrams_contain_every_bar_and_barcodes_the_longest(recording):
    extractor = LevelSet()
    panels = extractor.panels(extractor.extract(recording), recording)
    diagrams = extractor.diagrams(recording)
    for panel, ending in ((panels[1], "H0"), (panels[2], "H1")):
        whole = sum(len(bars) for name, bars in diagrams.items() if name.endswith(ending))
        assert sum(len(bars) for bars in panel.data.values()) == whole
        assert panel.kind == "diagram"
    for name, bars in panels[3].data.items():
        length = bars[:, 0] - bars[:, 1]
        assert len(bars) == 10 and (np.diff(length) >= 0).all()
        assert length.max() == np.ptp(panels[1].data[name], axis=1).max()


def test_lines_on_contours_begin_on_the_curve(recording):
    extractor = LevelSet(families=("contours",))
    panels = extractor.panels(extractor.extract(recording), recording)[:-1]
    curves = contours(extractor.heights(recording))
    for panel, curve, name in zip(panels, curves, CONTOURS, strict=True):
        assert panel.title.startswith(name)
        for side, sign in (("superlevel", 1), ("sublevel", -1)):
            frame, birth, death = panel.marks[side].T
            np.testing.assert_array_equal(curve[frame.astype(int)], birth)
            assert (sign * birth > sign * death).all() and len(frame) <= 6
            assert len(frame) > 1 or name == "level"  # the level only rises


def test_few_bands_share_one_panel(recording):
    extractor = LevelSet(families=("levels",), level_bands=3)
    panels = extractor.panels(extractor.extract(recording), recording)
    assert [p.kind for p in panels] == ["diagram", "bars", "image"] and len(panels[0].data) == 3


@pytest.mark.parametrize("missing", [None, Recording(Path("/nowhere/a.wav"))])
def test_only_statistics_if_the_recording_is_missing(missing):
    extractor = LevelSet()
    array = np.arange(42 * 26, dtype=np.float32).reshape(42, 26)
    array[:, 3] = 0
    (panel,) = extractor.panels(array, missing)
    assert panel.data[""].shape == (26, 42) and panel.data[""].max() == 1
    assert not panel.data[""][3].any()


def test_silence_has_only_statistics(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(4000), 16000)
    extractor, source = LevelSet(), Recording(tmp_path / "a.wav")
    assert [p.kind for p in extractor.panels(extractor.extract(source), source)] == ["image"]
