"""Suite for corpora: each broken corpus fails the corresponding check."""

import os
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
from suites import failures

from fusion import Clip, Corpus, Recording
from fusion.core.contracts.errors import CorpusError
from fusion.core.testing.runner import run, suite_for
from fusion.core.toolkit.filenames import audio_files, most_match
from fusion.testing import CorpusSuite

NAMES = ("anna/joy_1.wav", "anna/rage_1.wav", "ben/joy_1.wav", "ben/calm_1.wav")
CHECKS = {name for name in dir(CorpusSuite) if name.startswith("test_")}


def make(_, folder):
    for name in NAMES:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    (folder / "README").touch()


class Fine(Corpus):
    """Valid: a folder per speaker, and the emotion in the file's name."""

    name = "fine"
    labels: ClassVar = {"joy": "happy", "rage": "angry"}

    @classmethod
    def detect(cls, path):
        return path.is_dir() and most_match(path, lambda f: "_" in f.stem)

    def clips(self):
        for file in audio_files(self.path):
            if "_" in file.stem:
                yield self.clip(file, file.relative_to(self.path).as_posix())

    def clip(self, file, name):
        label, take = file.stem.split("_")
        return Clip(
            Recording(file), name, label, file.parent.name, self.name, attributes={"take": take}
        )


class Table(Corpus):
    """Valid: a text file with a line per clip."""

    name = "table_of_mine"

    @classmethod
    def detect(cls, path):
        return path.suffix == ".mine"

    def clips(self):
        if not self.path.is_file() or self.path.suffix != ".mine":
            raise CorpusError(f"{self.path} is no table.")
        for line in self.path.read_text().splitlines():
            file, label, speaker = line.split()
            yield Clip(Recording(self.path.parent / file), file, label, speaker, self.name)


class Made(Fine):
    """Valid: a generated corpus, which needs no path."""

    needs_path = False

    @classmethod
    def detect(cls, path):
        return False

    def clips(self):
        local = Path(__file__).resolve()
        yield Clip(Recording(local), "one", "joy", "anna", self.name)


def with_table(_, folder):
    (folder / "a.wav").touch()
    (folder / "clips.mine").write_text("a.wav Happiness anna\n")
    return folder / "clips.mine"


def test_valid_corpora_pass():
    assert failures(CorpusSuite, Fine, make=make) == {}
    assert failures(CorpusSuite, Table, make=with_table) == {}
    assert failures(CorpusSuite, Made) == {}


def test_a_sample_may_be_any_folder(tmp_path, monkeypatch):
    make(None, tmp_path)
    assert failures(CorpusSuite, Fine, sample=tmp_path) == {}
    monkeypatch.chdir(tmp_path.parent)
    assert failures(CorpusSuite, Fine, sample=tmp_path.name) == {}


def test_checks_that_need_a_sample_are_skipped_without_one():
    outcomes = {group.name: group for group in run(suite_for("corpus", Fine))}
    assert outcomes["clips"].outcome == "skipped"
    assert "--data PATH" in outcomes["clips"].results[0].reason
    assert outcomes["detects nothing else"].outcome == "passed"


# -- corpora with one fault each ---------------------------------------------------------


class Undetected(Fine):
    @classmethod
    def detect(cls, path):
        return path.name == "fine"


class NoClassmethod(Fine):
    def detect(self, path):
        return True


class Greedy(Fine):
    @classmethod
    def detect(cls, path):
        return path.is_dir()


class Vacuous(Fine):
    @classmethod
    def detect(cls, path):
        return all("_" in f.stem for f in path.rglob("*.wav"))


class Opens(Fine):
    @classmethod
    def detect(cls, path):
        return "joy" in (path / "index.txt").read_text()


class Talks(Fine):
    @classmethod
    def detect(cls, path):
        print("looking at", path)
        return super().detect(path)


class Everything(Fine):
    def clips(self):
        for file in sorted(self.path.rglob("*.wav")):
            yield self.clip(file, file.relative_to(self.path).as_posix())


class Changed(Fine):
    """Base of corpora with one invalid field of the clip."""

    change: ClassVar = {}

    def clip(self, file, name):
        return replace(super().clip(file, name), **self.change)


class NumberedSpeaker(Changed):
    change: ClassVar = {"speaker": 3}


class NoLabel(Changed):
    change: ClassVar = {"label": ""}


class OtherName(Changed):
    change: ClassVar = {"corpus": "ravdess"}


class DevSplit(Changed):
    change: ClassVar = {"split": "dev"}


class Backwards(Changed):
    def clip(self, file, name):
        return replace(super().clip(file, name), recording=Recording(file, 2.0, 1.0))


class NumberAttribute(Changed):
    change: ClassVar = {"attributes": {"take": 1}}


class PathForRecording(Fine):
    def clip(self, file, name):
        return replace(super().clip(file, name), recording=file)


class Namesakes(Fine):
    def clip(self, file, name):
        return super().clip(file, file.name)


class Absolute(Fine):
    def clip(self, file, name):
        return super().clip(file, str(file))


class Elsewhere(Fine):
    def clip(self, file, name):
        result = super().clip(file, name)
        return replace(result, recording=Recording(self.path / file.name))


class WrongTable(Fine):
    labels: ClassVar = {"joy": "joyful"}


class Codes(Fine):
    labels: ClassVar = {"j": "happy", "r": "angry"}


class Capitals(Fine):
    labels: ClassVar = {"joy": "happy", "Rage": "angry"}


class Unsorted(Fine):
    calls: ClassVar = []

    def clips(self):
        self.calls.append(1)
        result = list(super().clips())
        return result[:: 1 if len(self.calls) % 2 else -1]


class UsedUp(Fine):
    def __init__(self, path):
        super().__init__(path)
        self.iterator = super().clips()

    def clips(self):
        return self.iterator


class Relative(Fine):
    def clip(self, file, name):
        result = super().clip(file, name)
        return replace(result, recording=Recording(Path(os.path.relpath(file))))


class AboveTheRoot(Fine):
    def clip(self, file, name):
        return super().clip(file, f"{self.path.parent.name}/{name}")


class Index(Fine):
    def clips(self):
        (self.path / "index.txt").write_text("joy\n")
        return super().clips()


class Nothing(Fine):
    def clips(self):
        return []


# Plugin -> the check that it fails, and words of the message.
WRONG = {
    Undetected: ("detects_its_sample", "detect returns False for the corpus's own sample"),
    NoClassmethod: ("detects_its_sample", "detect('sample') raises TypeError"),
    Greedy: ("detects_nothing_else", "an empty folder\n  what failed:    detect returns True"),
    Vacuous: ("detects_nothing_else", "all(...) over zero files, which is True"),
    Opens: ("detects_nothing_else", "raises FileNotFoundError"),
    Talks: ("detects_nothing_else", "prints 'looking at"),
    Everything: ("nothing_of_its_own", "clips raises ValueError"),
    NumberedSpeaker: ("clips", "`speaker` is 3"),
    NoLabel: ("clips", "`label` is ''"),
    OtherName: ("clips", "`corpus` is 'ravdess'"),
    DevSplit: ("clips", "`split` is 'dev'"),
    Backwards: ("clips", "the recording starts at 2.0 s and ends at 1.0 s"),
    NumberAttribute: ("clips", "the value is not a string: take"),
    PathForRecording: ("clips", "a path instead of a Recording"),
    Namesakes: ("names", "several clips are called 'joy_1.wav'"),
    Absolute: ("names", "a clip is called '/"),
    Elsewhere: ("recordings_exist", "4 of 4 recordings do not exist"),
    WrongTable: ("labels", "`labels` maps to 'joyful'"),
    Codes: ("labels", "`labels` lacks 'joy', 'rage'"),
    Capitals: ("labels", "`labels` lacks 'rage'"),
    Unsorted: ("stable_order", "yields other clips, or another order"),
    UsedUp: ("stable_order", "the same instance a second time yields other"),
    Relative: ("any_current_directory", "change with the folder in which"),
    AboveTheRoot: ("moved", "under another path the clips have other names"),
    Index: ("leaves_no_traces", "files in the corpus were created, changed or deleted"),
    Nothing: ("clips", "the corpus finds no clips in the sample"),
}


@pytest.mark.parametrize("plugin", WRONG, ids=lambda plugin: plugin.__name__)
def test_a_broken_corpus_fails_its_check(plugin):
    intended, words = WRONG[plugin]
    result = failures(CorpusSuite, plugin, make=make)
    assert words in result[f"test_{intended}"], result
    assert "usual cause:" in result[f"test_{intended}"]


@pytest.mark.parametrize("plugin", [Undetected, Talks, Namesakes, Capitals, DevSplit])
def test_a_broken_corpus_fails_no_other_check(plugin):
    class Documented(plugin):
        """Has a docstring."""

    intended, _ = WRONG[plugin]
    assert set(failures(CorpusSuite, Documented, make=make)) == {f"test_{intended}"}


def test_every_check_has_a_corpus_that_fails_it():
    general = {"name_and_version", "description", "conformance_attribute", "parameters", "space"}
    assert {f"test_{n}" for n in {intended for intended, _ in WRONG.values()} | general} == CHECKS


def test_costs_describe_the_sample():
    suite = type("TestIt", (CorpusSuite,), {"plugin": Fine, "make": make})()
    (cost,) = suite.costs()
    assert cost.what == "clips, 4 of them"
    assert cost.note == "2 speakers; labels that are no shared emotion: calm (1)"
