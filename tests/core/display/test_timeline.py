"""Pictures of probabilities over time."""

import os
import re
import warnings
from pathlib import Path

import numpy as np
import pytest

from fusion.core.contracts.errors import ParameterError, StorageError
from fusion.core.display.timeline import check_timeline, draw_timeline
from fusion.core.runs.prediction import Prediction, Window, mean_of, most_probable


def prediction(name="meeting.wav", count=9, classes=("happy", "sad"), seconds=4.0):
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(len(classes)), count)
    windows = tuple(
        Window(seconds * i, seconds * (i + 1), dict(zip(classes, row.tolist(), strict=True)))
        for i, row in enumerate(shares)
    )
    mean = mean_of([w.probabilities for w in windows])
    return Prediction(Path(name), most_probable(mean), mean, windows=windows)


def texts(file):
    return re.findall(r"<text[^>]*>([^<]*)</text>", file.read_text(encoding="utf-8"))


def test_a_picture_has_a_panel_per_recording_and_one_legend(tmp_path):
    file = tmp_path / "t.svg"
    draw_timeline([prediction(), prediction("talk.wav", 400)], ("happy", "sad"), file)
    words = texts(file)
    assert words.count("happy") == words.count("sad") == 2  # legend of lines, rows of the image
    titles = [word for word in words if ".wav" in word]
    assert len(titles) == 2 and re.fullmatch(r"meeting\.wav: (happy|sad) \(0\.\d\d\)", titles[0])
    assert "0:00" in words and "25:00" in words  # 400 windows of 4 s
    assert words.count("probability") == 2
    assert "time in the recording (minutes:seconds)" in words


def test_the_same_predictions_give_the_same_picture(tmp_path):
    for name in ("a.svg", "b.svg"):
        draw_timeline([prediction()], ("happy", "sad"), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_a_picture_of_pixels(tmp_path):
    classes = tuple(f"class {number}" for number in range(9))
    draw_timeline([prediction(classes=classes)], classes, tmp_path / "t.PNG")
    assert (tmp_path / "t.PNG").read_bytes()[:4] == b"\x89PNG"


def test_names_in_any_script_give_no_warning(tmp_path):
    name = os.fsdecode("感情 🙂 $x$ [b] ".encode() + b"\xe9" + 80 * b"x" + b"\x1b.wav")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_timeline([prediction(name)], ("happy", "sad"), tmp_path / "t.svg")
        draw_timeline([prediction(name)], ("happy", "sad"), tmp_path / "t.png")
    (title,) = [word for word in texts(tmp_path / "t.svg") if ".wav" in word]
    assert title.startswith("感情 🙂 $x$ [b] ?xxx") and "..." in title and "\x1b" not in title


def test_other_suffixes_are_refused():
    check_timeline(Path("a.SVG"))
    check_timeline(Path("a.png"))
    for name in ("a", "a.jpg", "a.svg.gz"):
        with pytest.raises(ParameterError, match=r"Accepted: \.svg, \.png"):
            check_timeline(Path(name))


def test_a_file_that_can_not_be_written_is_an_error(tmp_path):
    with pytest.raises(StorageError, match="can't be written"):
        draw_timeline([prediction()], ("happy", "sad"), tmp_path / "no" / "t.svg")
