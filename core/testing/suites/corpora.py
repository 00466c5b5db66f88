"""The conformance suite for corpora."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from ...contracts import Clip, Corpus, Recording
from ...contracts.errors import CorpusError
from ...registry.parameters import make
from ...toolkit.emotions import SHARED, to_shared
from ..checks.assertions import fail, require, require_silence, running, said, skip
from ..checks.declarations import PluginSuite
from ..checks.samples import contents, strange_places
from ..checks.tensors import listed
from ..costs import Cost, seconds_of


class CorpusSuite(PluginSuite):
    """Checks a corpus on a small sample that its author writes.

    Subclass it in a test file; pytest finds the checks::

        from fusion.testing import CorpusSuite

        class TestMine(CorpusSuite):
            plugin = Mine

            def make(self, folder):
                for name in ("anna_happy.wav", "ben_sad.wav"):
                    (folder / name).touch()

    Files named as those of the corpus are enough; nothing listens to them. Give two speakers
    or more and several labels. A corpus that makes itself needs no sample.

    Attributes
    ----------
    sample : Path or str
        A sample that lies somewhere, in place of `make`.
    """

    kind = Corpus
    passed = ("path",)

    plugin: ClassVar[type[Corpus]]
    sample: ClassVar[Path | str] = ""

    def make(self, folder: Path) -> Path | None:
        """Write a small corpus into an empty folder.

        Returns
        -------
        Path or None
            What to read where it is not the folder itself, such as a table in it.
        """
        skip("no sample: give --data PATH, or write make(folder) in its test class")

    # -- tools ---------------------------------------------------------------------------

    @contextlib.contextmanager
    def placed(self) -> Iterator[Path | None]:
        """Where the sample lies; None for a corpus that makes itself."""
        if not self._plugin().needs_path:
            yield None
        elif self.sample:
            yield Path(self.sample).expanduser().resolve()
        else:
            with tempfile.TemporaryDirectory() as folder:
                root = Path(folder).resolve() / "sample"
                root.mkdir()
                yield self.make(root) or root

    def example(self) -> Corpus:
        return self.made(Path("sample"))

    def made(self, path: Path | None) -> Corpus:
        plugin = self._plugin()
        path = path if plugin.needs_path else None
        found: Corpus = make(plugin, path, given=self.parameters, owner=self.where)
        return found

    def read(self, path: Path | None, where: str = "") -> list[Clip]:
        """The clips of a sample, at least one."""
        with running(where or self.where, "clips", cause=_CLIPS):
            found = list(self.made(path).clips())
        require(
            bool(found),
            where or self.where,
            "there are no clips in the sample",
            expected="at least one",
            cause="files that it passes over: capitals, another suffix, another folder",
        )
        for clip in found:
            require(
                isinstance(clip, Clip) and isinstance(clip.recording, Recording),
                where or self.where,
                f"clips yields {clip!r:.80}",
                expected="fusion.Clip(Recording(path), name, label, speaker, self.name)",
                cause="a path where a Recording is meant",
            )
        return found

    def costs(self) -> Sequence[Cost]:
        """Reading the sample, and what is in it."""
        with self.placed() as path:
            corpus = self.made(path)
            taken = seconds_of(lambda: list(corpus.clips()), times=3)
            found = self.read(path)
        speakers = len({clip.speaker for clip in found})
        left_out = Counter(clip.label for clip in found if self._shared(clip.label) is None)
        note = f"{speakers} {'speaker' if speakers == 1 else 'speakers'}"
        if left_out:
            counts = ", ".join(f"{label} ({n})" for label, n in sorted(left_out.items()))
            note += f"; of no shared emotion: {counts}"
        return [Cost(f"clips, {len(found)} of them", taken, note=note)]

    def _shared(self, label: str) -> str | None:
        labels = self._plugin().labels
        return labels.get(label) if labels else to_shared(label)

    # -- checks: is it its own corpus ------------------------------------------------------

    def test_detects_its_sample(self) -> None:
        """``--data PATH`` finds the corpus by itself."""
        with self.placed() as path:
            if path is None:
                skip("it makes itself: there is nothing to detect")
            with running(self.where, f"detect({path.name!r})", cause=_DETECT):
                found = self._plugin().detect(path)
        require(
            found is True,
            self.where,
            f"detect says {found!r} of its own sample",
            expected="True; --data PATH would not find it",
            cause="`detect` is missing, is no classmethod, returns no bool, or asks for more than "
            "the sample has",
        )

    def test_detects_nothing_else(self) -> None:
        """False for what is something else, without an exception and without a word."""
        printed = io.StringIO()
        with strange_places() as places, contextlib.redirect_stdout(printed):
            for words, path in places.items():
                with running(self.where, f"detect of {words}", cause=_DETECT):
                    found = self._plugin().detect(path)
                require(
                    not found,
                    f"{self.where}, {words}",
                    f"detect says {found!r}",
                    expected="False: it would claim other people's data",
                    cause="all(...) of no files is True; or a suffix is all that it asks for",
                )
        require_silence(self.where, printed)

    def test_nothing_of_its_own(self) -> None:
        """Where nothing of it lies there are no clips, or a CorpusError that says so."""
        if not self._plugin().needs_path:
            skip("it makes itself")
        with strange_places() as places:
            for words, path in places.items():
                try:
                    found = list(self.made(path).clips())
                except CorpusError:
                    continue
                except Exception as error:
                    failed = f"clips raises {said(error)}"
                else:
                    failed = f"clips yields {len(found)} of them" if found else ""
                if failed:
                    fail(
                        f"{self.where}, {words}",
                        failed,
                        expected="a fusion.core.contracts.errors.CorpusError naming the path, "
                        "or no clips",
                        cause="a file that it opens without looking whether it is there",
                    )

    # -- checks: its clips -----------------------------------------------------------------

    def test_clips(self) -> None:
        """Every clip is whole: text where text is meant, times in order."""
        with self.placed() as path:
            for clip in self.read(path):
                self._check_clip(clip)

    def _check_clip(self, clip: Clip) -> None:
        where = f"{self.where}, clip {clip.name!r}"
        for field in ("name", "label", "speaker", "corpus"):
            value = getattr(clip, field)
            require(
                isinstance(value, str) and bool(value.strip()),
                where,
                f"its {field} is {value!r}",
                expected="text that is not empty",
                cause="a number, str(...) is missing; or a part of a file name that is not there",
            )
        require(
            clip.corpus == self._plugin().name,
            where,
            f"its corpus is {clip.corpus!r}",
            expected=f"{self._plugin().name!r}: write self.name",
            cause="the name of another corpus, copied",
        )
        require(
            clip.split in (None, "train", "val", "test"),
            where,
            f"its split is {clip.split!r}",
            expected="'train', 'val', 'test', or None where the corpus prescribes none",
            cause="the corpus's own word: 'dev', 'valid'",
        )
        start, end = clip.recording.start, clip.recording.end
        require(
            start >= 0 and (end is None or end > start),
            where,
            f"it goes from {start!r} s to {end!r} s",
            expected="0 <= start < end, in seconds; end None for the end of the file",
            cause="milliseconds, samples, or a duration where the end is meant",
        )
        texts = [*clip.attributes.items(), *([("fold", clip.fold)] if clip.fold else [])]
        wrong = [key for key, value in texts if not isinstance(value, str)]
        require(
            not wrong,
            where,
            f"no text: {listed(wrong)}",
            expected="text in attributes and fold",
            cause="numbers: str(...) is missing",
        )

    def test_names(self) -> None:
        """Unique, and relative paths: names say in every run, on every machine, who is who."""
        with self.placed() as path:
            clips = self.read(path)
        names = [clip.name for clip in clips]
        twice = sorted({name for name in names if names.count(name) > 1})
        require(
            not twice,
            self.where,
            f"several clips are called {', '.join(map(repr, twice[:3]))}",
            expected="a name for each: the file's path below the corpus, with the times for a part",
            cause="the file's name without its folder, or parts of one file",
        )
        wrong = [name for name in names if Path(name).is_absolute() or "\\" in name]
        require(
            not wrong,
            self.where,
            f"a clip is called {(wrong or [''])[0]!r}",
            expected="a path relative to the corpus, with slashes: "
            "file.relative_to(self.path).as_posix()",
            cause="str(file)",
        )

    def test_recordings_exist(self) -> None:
        """Every recording is a file."""
        with self.placed() as path:
            clips = self.read(path)
            missing = [clip for clip in clips if not clip.recording.path.is_file()]
        require(
            not missing,
            self.where,
            f"{len(missing)} of {len(clips)} recordings are not there, "
            f"{missing[0].recording.path if missing else ''} for one",
            expected="Recording(path) of files that exist",
            cause="a path that starts elsewhere: self.path / name",
        )

    def test_labels(self) -> None:
        """`labels` leads to the six shared emotions, and misses none that it should know."""
        labels = self._plugin().labels
        wrong = sorted({str(value) for value in labels.values()} - set(SHARED))
        require(
            not wrong,
            self.where,
            f"`labels` leads to {', '.join(map(repr, wrong))}",
            expected=f"some of {', '.join(SHARED)}; leave out what is none of them",
            cause="the corpus's own word on the right: labels = {'own word': 'shared emotion'}",
        )
        with self.placed() as path:
            native = {clip.label for clip in self.read(path)}
        if not labels:
            return
        missed = sorted(n for n in native if n not in labels and to_shared(n) is not None)
        require(
            not missed,
            self.where,
            f"`labels` does not know {', '.join(map(repr, missed))}, which spells a shared emotion",
            expected="every label that is one of the six: its clips would be left out",
            cause="another spelling in the clips than in `labels`: capitals, a code",
        )
        require(
            bool(native & set(labels)),
            self.where,
            f"`labels` knows none of the clips' labels: {', '.join(sorted(native))}",
            expected="the labels of the clips on the left of `labels`",
            cause="codes on one side and words on the other",
        )

    # -- checks: the same clips again ------------------------------------------------------

    def test_stable_order(self) -> None:
        """The same clips in the same order, from one instance and from another."""
        with self.placed() as path:
            first, corpus = self.read(path), self.made(path)
            for words in ("a new instance", "the same instance a second time"):
                with running(self.where, f"clips, by {words}", cause=_CLIPS):
                    found = list(corpus.clips())
                require(
                    found == first,
                    self.where,
                    f"read by {words}, there are other clips, or in another order",
                    expected="the same clips in the same order",
                    cause="iterdir() and rglob(): sort them; or an iterator that is used up",
                )

    def test_any_current_directory(self) -> None:
        """Clips are the same wherever the program was started."""
        with self.placed() as path:
            first = self.read(path)
            with tempfile.TemporaryDirectory() as elsewhere, contextlib.chdir(elsewhere):
                found = self.read(path, f"{self.where}, started in another folder")
        relative = [c for c in first if not c.recording.path.is_absolute()]
        require(
            found == first and not relative,
            self.where,
            "its clips change with the folder in which the program is started",
            expected="paths that begin with the path that it was given",
            cause="relative paths: self.path / name",
        )

    def test_moved(self) -> None:
        """The corpus under another path has the same clips: names, labels, speakers."""
        with self.placed() as path, tempfile.TemporaryDirectory() as folder:
            if path is None:
                skip("it makes itself")
            first = self.read(path)
            link = Path(folder).resolve() / "moved"
            try:
                link.symlink_to(path.parent, target_is_directory=True)
            except OSError:
                skip("no links can be made here")
            found = self.read(link / path.name, f"{self.where}, under another path")
        require(
            list(map(_identity, first)) == list(map(_identity, found)),
            self.where,
            "under another path its clips have other names, labels, speakers or attributes",
            expected="the same: a run on another machine is compared with this one by names",
            cause="parts of the path above the corpus: file.relative_to(self.path)",
        )

    def test_leaves_no_traces(self) -> None:
        """Nothing is written into the corpus, and nothing to standard output."""
        printed = io.StringIO()
        with self.placed() as path:
            before = contents(path)
            with contextlib.redirect_stdout(printed):
                self.read(path)
            after = contents(path)
        require(
            before == after,
            self.where,
            "files were made, changed or deleted in the corpus",
            expected="the corpus as it was: it may be read-only, or shared",
            cause="an index that is kept beside the recordings",
        )
        require_silence(self.where, printed)


def _identity(clip: Clip) -> tuple[Any, ...]:
    return clip.name, clip.label, clip.speaker, clip.attributes


_CLIPS = "a file name, a line or a label that it does not expect"
_DETECT = "`detect` opens what it is given: ask path.is_dir() first, and catch what reading raises"
