"""Example inputs in a report: pictures of some clips' features."""

import json
import re
from pathlib import Path

import numpy as np
from report_pages import Checked, change

from fusion import Clip, Extractor, Recording
from fusion.cache import FeatureCache
from fusion.core.analysis.report.examples import chosen_clips, example, recordings_missing, views
from fusion.core.analysis.report.page import Image
from fusion.core.analysis.report.run_data import read_run
from fusion.core.contracts.data import Panel
from fusion.core.runs.record import FeatureRecord
from fusion.core.runs.run import Run


def test_marks_and_barcodes_are_drawn(macros):
    clip = Clip(Recording(Path("a.wav")), "a", "sad", "s", "c")
    panels = [
        Panel("i", "image", {"": np.eye(10)}, marks={"": np.array([[0, 0], [9, 4]])}),
        Panel("b", "bars", {"low": np.array([[1, 2], [0, 5]]), "none": np.empty((0, 2))}),
        Panel("c", "curve", {"": np.arange(5)}, marks={"low": np.array([[1, 0, 3]])}),
    ]
    shown = example(clip, panels, "m")
    page = str(macros.figures(shown.figures, shown.marks))
    Checked(page)
    # Row 0 is at the bottom. The circles are in the first pixel and in column 9, row 4, of a square
    # of 100.
    assert re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', page)[-2:] == [
        ("5.0", "95.0"), ("95.0", "55.0")]  # fmt: skip
    assert page.count('class="panel wide"') == 2 and page.count('class="marked"') == 1
    assert re.findall(r"</svg>(\w+)</li>", page) == ["low", "none"]  # the curve has no legend entry
    assert page.count("var(--c0, #777)") >= 2 and page.count("var(--c2, #777)") >= 1


class Broken(Extractor):
    name = "a"
    axes = ("channel", "time")

    def panels(self, array, recording=None):
        return [Panel("", "image", {"": array[0]})]  # invalid: one axis


def test_an_extractor_that_cannot_draw(run, tmp_path):
    """The page has default pictures and a note with the reason."""
    config = json.loads((run / "run.json").read_text())["config"]
    features = {m: vars(FeatureRecord("0" * 32, "1", {}, (2, 3), "float32", {})) for m in "ab"}
    change(run / "run.json", config={**config, "cache": str(tmp_path / "cache")}, features=features)
    read = read_run(Run.open(run))
    shown = chosen_clips(read)
    keys = [read.data.keys[index] for index in shown]
    fingerprint = read.record.features["a"].fingerprint("a")
    FeatureCache(tmp_path / "cache").add(fingerprint, keys, [np.eye(2, 3, dtype="f4")] * 2)

    broken, lacking = views(read, {"a": Broken()})

    (note,) = broken.notes
    assert note.startswith("The extractor could not draw its pictures, so default ones")
    assert ": PluginError" in note
    assert [figure.title for figure in broken.row] == ["low", "high"]
    assert all(isinstance(figure.drawn, Image) and figure.drawn.png for figure in broken.row)
    assert [figure.notes[0] for figure in broken.row] == [
        "time →, channel ↑; 0 (dark) to 1 (bright)"
    ] * 2
    # The other feature is not in the cache.
    assert not lacking.row and "no longer in the cache" in lacking.notes[0]
    assert recordings_missing(read)
