"""Sentences on the task of a run, and corpora that can't be adapted to speakers."""

from pathlib import Path

import pytest

from fusion.core.contracts.data import Clip, Recording
from fusion.core.contracts.errors import CorpusError, UnknownNameError
from fusion.core.data.split_modes import MODES
from fusion.core.data.task import adapted_line, check_adapt, measured_on, task_sentence, with_task


def clip(number, speaker, corpus="c"):
    return Clip(Recording(Path(f"{number}.wav")), f"{number}.wav", "x", speaker, corpus)


def test_corpora_that_can_not_be_adapted_are_refused():
    pooled = [clip(0, "1", "a"), clip(1, "1", "a"), clip(2, "1", "b"), clip(3, "2", "b")]
    check_adapt("none", pooled)
    with pytest.raises(CorpusError, match="corpus 'b' each of the 2 clips has a different speaker"):
        check_adapt("speaker", pooled)
    with pytest.raises(CorpusError, match="all clips are of one speaker: '1' in the corpus 'a'"):
        check_adapt("speaker", pooled[:2])
    with pytest.raises(UnknownNameError, match="speakers"):
        check_adapt("speakers", pooled)
    check_adapt("speaker", [*pooled, clip(4, "2", "b")])


def test_phrases_on_the_task():
    assert measured_on(MODES["speaker"], "speaker") == "on held-out speakers, speaker-adapted"
    assert measured_on(MODES["speaker"], "none") == "on held-out speakers"
    assert with_task("none", "Fine.") == "Fine."
    assert with_task("speaker", "Fine.").startswith("Speaker-adapted: ")
    line = adapted_line([clip(0, "1"), clip(1, "1"), clip(2, "2")])
    assert "1 to 2 clips per speaker" in line and "1 of 2 speakers have one clip" in line


def test_the_sentence_of_an_adapted_run_mentions_the_test_speakers():
    assert task_sentence("none") == with_task("none", "") == ""
    assert task_sentence("speaker") == with_task("speaker", "")
    assert "test speakers included" in task_sentence("speaker")
    assert measured_on(MODES["random"], "speaker") == "SPEAKER-DEPENDENT, speaker-adapted"


def test_a_line_on_speakers_with_equal_numbers_of_clips_has_one_number():
    line = adapted_line([clip(i, str(i % 2)) for i in range(6)])
    assert line.endswith("test speakers included (3 clips per speaker)")
