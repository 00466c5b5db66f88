"""Report panels of a clip's persistence: images, and diagrams if the recording is readable."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from fusion import Recording
from fusion.plugins.extractors.persistence import CHANNELS, Persistence


@pytest.fixture
def recording(tmp_path):
    samples = np.random.default_rng(0).normal(size=4000) * np.linspace(0, 0.3, 4000)
    soundfile.write(tmp_path / "a.wav", samples, 16000)
    return Recording(tmp_path / "a.wav")


def test_images_and_diagrams(recording):
    extractor = Persistence(n_mels=16, resolution=8)
    array = extractor.extract(recording)
    panels = extractor.panels(array, recording)
    # Each metric has two images and a diagram.
    assert [panel.kind for panel in panels] == ["image", "image", "diagram"] * 3
    images = [panel for panel in panels if panel.kind == "image"]
    diagrams = panels[2::3]
    assert [panel.title for panel in images] == list(CHANNELS)
    # Row 0 is drawn at the bottom: persistence points upwards, birth to the right.
    assert images[1].data[""].tolist() == array[1].T.tolist()
    assert {(p.kind, p.x, p.y) for p in images} == {("image", "birth", "persistence")}
    assert [p.title for p in diagrams] == [
        "Euclidean diagram", "temporal diagram", "Wasserstein diagram"]  # fmt: skip
    for panel, h0, h1 in zip(
        diagrams, *[extractor.diagrams(recording)[i::2] for i in (0, 1)], strict=True
    ):
        assert (panel.x, panel.y) == ("birth", "death")
        assert panel.data["H0"].tolist() == h0.tolist() and len(h0)
        assert panel.data["H1"].tolist() == h1.tolist()


@pytest.mark.parametrize("missing", [None, Recording(Path("/nowhere/a.wav"))])
def test_only_images_if_the_recording_is_missing(missing):
    extractor = Persistence(resolution=8)
    panels = extractor.panels(np.zeros(extractor.shape, np.float32), missing)
    assert [panel.kind for panel in panels] == ["image"] * 6
