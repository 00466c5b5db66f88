"""Clips that share a recording: by path, by link, by content and by overlapping segments."""

import math
import os
import random
import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion import Clip
from fusion.core.contracts import Recording
from fusion.core.data import shared_recordings as module
from fusion.core.data.shared_recordings import join, shared_recordings


def clip(path, start=0.0, end=None, name=""):
    return Clip(Recording(Path(path), start, end), name or str(path), "sad", "1", "x")


def noise(path, seed, size=6000):
    path.write_bytes(random.Random(seed).randbytes(size))
    return path


def wav(path, samples):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(np.asarray(samples, dtype="<i2").tobytes())
    return path


# -- segments of one file ------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ((0.0, None), (0.0, None), True),  # the whole file twice
        ((0.0, None), (5.0, 6.0), True),
        ((0.0, 2.0), (1.5, 3.0), True),
        ((1.0, 2.0), (0.0, 9.0), True),
        ((0.0, 2.0), (2.0, 3.0), False),  # they touch
        ((0.0, 2.0), (1.9995, 3.0), False),  # rounded times
        ((0.0, 2.0), (1.998, 3.0), True),
        ((0.0, 2.0), (5.0, None), False),
    ],
)
def test_segments_of_one_file_share_a_recording_if_they_overlap(one, other, shared):
    clips = [clip("missing.wav", *one), clip("other.wav"), clip("missing.wav", *other)]
    assert shared_recordings(clips) == (((0, 2),) if shared else ())
    assert shared_recordings(clips[::-1]) == (((0, 2),) if shared else ())


def test_a_chain_of_overlapping_segments_is_one_group():
    clips = [clip("a.wav", s, e) for s, e in ((0, 4), (8, 9), (3, 6), (5, 8), (1, 2))]
    assert shared_recordings(clips) == ((0, 2, 3, 4),)


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 8), st.sampled_from("ab")), max_size=12)
)
def test_groups_are_the_connected_segments(drawn):
    clips = [clip(f"{name}.wav", float(s), float(s + length)) for s, length, name in drawn]

    def overlap(i, j):
        (a, m, one), (b, n, other) = drawn[i], drawn[j]
        return one == other and a < b + n and b < a + m

    reach = {i: {i} for i in range(len(clips))}
    for _ in clips:
        for i in reach:
            reach[i] |= {j for k in reach[i] for j in range(len(clips)) if overlap(k, j)}
    expected = sorted({tuple(sorted(group)) for group in reach.values() if len(group) > 1})
    assert shared_recordings(clips) == tuple(expected)


# -- copies and links ----------------------------------------------------------------


def test_copies_and_links_are_one_recording(tmp_path):
    a = noise(tmp_path / "a.wav", 1)
    files = [a, noise(tmp_path / "b.wav", 2), noise(tmp_path / "copy.wav", 1)]
    (tmp_path / "link.wav").symlink_to(a)
    os.link(a, tmp_path / "hard.wav")
    (tmp_path / "sub").mkdir()
    files += [tmp_path / "link.wav", tmp_path / "hard.wav", tmp_path / "sub" / ".." / "a.wav"]
    assert shared_recordings([clip(f) for f in files]) == ((0, 2, 3, 4, 5),)


def test_copies_share_a_recording_only_where_segments_overlap(tmp_path):
    """A dialogue may be stored once per speaker, with the turns of this speaker."""
    a, b = noise(tmp_path / "a.wav", 1), noise(tmp_path / "b.wav", 1)
    turns = [clip(a, 0, 2), clip(b, 2, 4), clip(a, 4, 6), clip(b, 5, 7)]
    assert shared_recordings(turns) == ((2, 3),)


@pytest.mark.parametrize("changed", [0, 3000, 5999])
def test_files_of_one_size_that_differ_in_one_byte_are_two_recordings(tmp_path, changed):
    data = bytearray(noise(tmp_path / "a.wav", 1).read_bytes())
    data[changed] ^= 1
    (tmp_path / "b.wav").write_bytes(data)
    assert not shared_recordings([clip(tmp_path / "a.wav"), clip(tmp_path / "b.wav")])


def test_files_larger_than_a_chunk_are_compared_to_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 1000)
    data = bytearray(noise(tmp_path / "a.wav", 1).read_bytes())
    (tmp_path / "b.wav").write_bytes(data)
    data[-1] ^= 1
    (tmp_path / "c.wav").write_bytes(data)
    assert shared_recordings([clip(tmp_path / f"{n}.wav") for n in "abc"]) == ((0, 1),)


def test_identical_silence_is_no_shared_recording(tmp_path):
    """Two people who are silent are two people, also if one file stands for both."""
    zeros = [wav(tmp_path / f"zero{i}.wav", np.zeros(64_000)) for i in range(3)]
    level = [wav(tmp_path / f"level{i}.wav", np.full(64_000, 77)) for i in range(2)]
    empty = [tmp_path / "empty0.wav", tmp_path / "empty1.wav"]
    for file in empty:
        file.touch()
    tone = 9000 * np.sin(np.arange(64_000) * 2 * math.pi * 150 / 16000)
    speech = np.random.default_rng(0).normal(0, 300, 64_000) + tone
    voices = [wav(tmp_path / f"voice{i}.wav", speech) for i in range(2)]
    clips = [clip(file) for file in [*zeros, *level, *empty, *voices]]
    assert shared_recordings(clips) == ((7, 8),)
    assert shared_recordings([*clips[:3], clip(zeros[0])]) == ()


def test_missing_and_special_files_are_compared_by_path(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # opening it would block
    os.mkfifo(tmp_path / "pipe2")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    names = ["pipe", "pipe2", "loop", "gone.wav", "", "a\0b", "gone.wav", "pipe"]
    assert shared_recordings([clip(tmp_path / name) for name in names]) == ((0, 7), (3, 6))


def test_a_file_that_disappears_while_it_is_read_is_left_out(tmp_path, monkeypatch):
    a, b = noise(tmp_path / "a.wav", 1), noise(tmp_path / "b.wav", 1)
    files_of = module._files_of

    def then_gone(clips):
        result = files_of(clips)
        a.unlink()
        return result

    monkeypatch.setattr(module, "_files_of", then_gone)
    assert not shared_recordings([clip(a), clip(b)])


def test_only_files_with_equal_sizes_are_opened(tmp_path, monkeypatch):
    files = [noise(tmp_path / f"{i}.wav", i, 5000 + (i // 2)) for i in range(5)]
    opened = []
    path_open = Path.open

    def spy(self, *passed):
        opened.append(self.name)
        return path_open(self, *passed)

    monkeypatch.setattr(Path, "open", spy)
    assert not shared_recordings([clip(f) for f in files])
    assert opened == ["0.wav", "1.wav", "2.wav", "3.wav"]  # once each: the middles differ


def test_no_clips_share_nothing():
    assert shared_recordings([]) == ()


# -- joining -------------------------------------------------------------------------


def test_joined_items_have_the_smallest_key():
    keys = [("c",), ("b",), ("a",), ("d",), ("b",), ("e",)]
    assert join(keys, []) == keys
    # b and d are joined through items 1 and 3, c with b through items 0 and 4.
    assert join(keys, [(3, 1), (0, 4)]) == [("b",), ("b",), ("a",), ("b",), ("b",), ("e",)]
    assert join(keys, [(0, 1, 2, 3, 5)]) == [("a",)] * 6


def test_a_long_chain_is_joined():
    keys = [(f"{i:05}",) for i in range(5000)]
    assert set(join(keys, [(i, i + 1) for i in reversed(range(4999))])) == {("00000",)}
