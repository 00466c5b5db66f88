"""Conformance suite for corpora."""

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
from ..checks.assertions import describe, fail, require, require_silence, running, skip
from ..checks.declarations import PluginSuite
from ..checks.samples import contents, strange_places
from ..checks.tensors import listed
from ..costs import Cost, seconds_of


class CorpusSuite(PluginSuite):
    """Checks of a corpus on a small sample that the author of the plugin writes.

    Subclass this suite in a test file; pytest collects the checks::

        from fusion.testing import CorpusSuite

        class TestMine(CorpusSuite):
            plugin = Mine

            def make(self, folder):
                for name in ("anna_happy.wav", "ben_sad.wav"):
                    (folder / name).touch()

    Empty files with the names of the corpus's files are enough: the checks do not read the audio.
    Give two or more speakers and several labels. A corpus that generates its own data
    (``needs_path = False``) needs no sample.

    Attributes
    ----------
    sample : Path or str
        Path of an existing sample, to use instead of `make`.
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
            The path to read, such as a table in the folder; None for the folder itself.
        """
        skip("no sample: give --data PATH, or write make(folder) in the test class")

    # -- tools ---------------------------------------------------------------------------

    @contextlib.contextmanager
    def sample_path(self) -> Iterator[Path | None]:
        """Yield the path of the sample; None for a corpus that generates its own data."""
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
        """Return an instance of the corpus, as fusion itself makes it."""
        return self.create(Path("sample"))

    def create(self, path: Path | None) -> Corpus:
        """Return the corpus for a path; ignore the path if the corpus needs no path."""
        plugin = self._plugin()
        path = path if plugin.needs_path else None
        corpus: Corpus = make(plugin, path, settings=self.parameters, owner=self.where)
        return corpus

    def read(self, path: Path | None, where: str = "") -> list[Clip]:
        """Return the clips of a sample; fail the check if the sample has no clips."""
        with running(where or self.where, "clips", cause=_CLIPS):
            clips = list(self.create(path).clips())
        require(
            bool(clips),
            where or self.where,
            "the corpus finds no clips in the sample",
            expected="at least one clip",
            cause="files that the corpus skips, because of capitals, another suffix or another "
            "folder",
        )
        for clip in clips:
            require(
                isinstance(clip, Clip) and isinstance(clip.recording, Recording),
                where or self.where,
                f"clips yields {clip!r:.80}",
                expected="fusion.Clip(Recording(path), name, label, speaker, self.name)",
                cause="a path instead of a Recording",
            )
        return clips

    def costs(self) -> Sequence[Cost]:
        """Return the cost of listing the sample's clips, with speakers and labels as a note."""
        with self.sample_path() as path:
            corpus = self.create(path)
            seconds = seconds_of(lambda: list(corpus.clips()), times=3)
            clips = self.read(path)
        speakers = len({clip.speaker for clip in clips})
        left_out = Counter(clip.label for clip in clips if self._shared(clip.label) is None)
        note = f"{speakers} {'speaker' if speakers == 1 else 'speakers'}"
        if left_out:
            counts = ", ".join(f"{label} ({n})" for label, n in sorted(left_out.items()))
            note += f"; labels that are no shared emotion: {counts}"
        return [Cost(f"clips, {len(clips)} of them", seconds, note=note)]

    def _shared(self, label: str) -> str | None:
        labels = self._plugin().labels
        return labels.get(label) if labels else to_shared(label)

    # -- checks: the corpus recognises its own data ----------------------------------------

    def test_detects_its_sample(self) -> None:
        """Check that `detect` recognises the sample, so that ``--data PATH`` finds the corpus."""
        with self.sample_path() as path:
            if path is None:
                skip("the corpus generates its own data: there is no path to detect")
            with running(self.where, f"detect({path.name!r})", cause=_DETECT):
                detected = self._plugin().detect(path)
        require(
            detected is True,
            self.where,
            f"detect returns {detected!r} for the corpus's own sample",
            expected="True: otherwise --data PATH does not find the corpus",
            cause="`detect` is missing, is no classmethod, returns no bool, or requires files that "
            "the sample does not have",
        )

    def test_detects_nothing_else(self) -> None:
        """Check that `detect` returns False for other data, without an exception or output."""
        printed = io.StringIO()
        with strange_places() as places, contextlib.redirect_stdout(printed):
            for words, path in places.items():
                with running(self.where, f"detect of {words}", cause=_DETECT):
                    detected = self._plugin().detect(path)
                require(
                    not detected,
                    f"{self.where}, {words}",
                    f"detect returns {detected!r}",
                    expected="False: otherwise the corpus claims data of other corpora",
                    cause="all(...) over zero files, which is True; or a test of the suffix only",
                )
        require_silence(self.where, printed)

    def test_nothing_of_its_own(self) -> None:
        """Check that a path without the corpus's data gives no clips or raises CorpusError."""
        if not self._plugin().needs_path:
            skip("the corpus generates its own data")
        with strange_places() as places:
            for words, path in places.items():
                try:
                    clips = list(self.create(path).clips())
                except CorpusError:
                    continue
                except Exception as error:
                    failed = f"clips raises {describe(error)}"
                else:
                    failed = f"clips yields {len(clips)} clips" if clips else ""
                if failed:
                    fail(
                        f"{self.where}, {words}",
                        failed,
                        expected="a fusion.core.contracts.errors.CorpusError naming the path, "
                        "or no clips",
                        cause="a file that the corpus opens without checking that it exists",
                    )

    # -- checks: the clips -----------------------------------------------------------------

    def test_clips(self) -> None:
        """Check the fields of every clip: types, valid splits, and start before end."""
        with self.sample_path() as path:
            for clip in self.read(path):
                self._check_clip(clip)

    def _check_clip(self, clip: Clip) -> None:
        where = f"{self.where}, clip {clip.name!r}"
        for field in ("name", "label", "speaker", "corpus"):
            value = getattr(clip, field)
            require(
                isinstance(value, str) and bool(value.strip()),
                where,
                f"`{field}` is {value!r}",
                expected="a string that is not empty",
                cause="a number without str(...); or a part of the file name that is missing",
            )
        require(
            clip.corpus == self._plugin().name,
            where,
            f"`corpus` is {clip.corpus!r}",
            expected=f"{self._plugin().name!r}: write self.name",
            cause="code that was copied from another corpus",
        )
        require(
            clip.split in (None, "train", "val", "test"),
            where,
            f"`split` is {clip.split!r}",
            expected="'train', 'val', 'test', or None if the corpus prescribes no split",
            cause="the corpus's own name for a split: 'dev', 'valid'",
        )
        start, end = clip.recording.start, clip.recording.end
        require(
            start >= 0 and (end is None or end > start),
            where,
            f"the recording starts at {start!r} s and ends at {end!r} s",
            expected="0 <= start < end, in seconds; end None for the end of the file",
            cause="milliseconds or samples instead of seconds, or a duration instead of the end",
        )
        texts = [*clip.attributes.items(), *([("fold", clip.fold)] if clip.fold else [])]
        wrong = [key for key, value in texts if not isinstance(value, str)]
        require(
            not wrong,
            where,
            f"the value is not a string: {listed(wrong)}",
            expected="strings as the values of attributes and fold",
            cause="a number without str(...)",
        )

    def test_names(self) -> None:
        """Check that names are unique relative paths, which identify a clip on every machine."""
        with self.sample_path() as path:
            clips = self.read(path)
        names = [clip.name for clip in clips]
        twice = sorted({name for name in names if names.count(name) > 1})
        require(
            not twice,
            self.where,
            f"several clips are called {', '.join(map(repr, twice[:3]))}",
            expected="a unique name for each clip: the file's path relative to the corpus, and the "
            "times for a part of a file",
            cause="a file name without its folder, or parts of a file without their times",
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
        """Check that every recording is an existing file."""
        with self.sample_path() as path:
            clips = self.read(path)
            missing = [clip for clip in clips if not clip.recording.path.is_file()]
        require(
            not missing,
            self.where,
            f"{len(missing)} of {len(clips)} recordings do not exist, "
            f"for example {missing[0].recording.path if missing else ''}",
            expected="Recording(path) with the paths of existing files",
            cause="a path that does not start at the corpus: write self.path / name",
        )

    def test_labels(self) -> None:
        """Check that `labels` maps every label that names a shared emotion to a shared emotion."""
        labels = self._plugin().labels
        wrong = sorted({str(value) for value in labels.values()} - set(SHARED))
        require(
            not wrong,
            self.where,
            f"`labels` maps to {', '.join(map(repr, wrong))}",
            expected=f"only values from {', '.join(SHARED)}; leave out labels that are none of "
            "these",
            cause="the corpus's own label as the value: write labels = {'own label': 'shared "
            "emotion'}",
        )
        with self.sample_path() as path:
            native = {clip.label for clip in self.read(path)}
        if not labels:
            return
        missed = sorted(n for n in native if n not in labels and to_shared(n) is not None)
        require(
            not missed,
            self.where,
            f"`labels` lacks {', '.join(map(repr, missed))}, which names a shared emotion",
            expected="every label that is one of the six emotions: a run leaves out the clips of "
            "other labels",
            cause="a spelling in the clips that differs from `labels`: capitals, a code",
        )
        require(
            bool(native & set(labels)),
            self.where,
            f"`labels` has none of the clips' labels: {', '.join(sorted(native))}",
            expected="the labels of the clips as the keys of `labels`",
            cause="codes in the clips and words in `labels`, or the other way round",
        )

    # -- checks: the clips are the same each time ------------------------------------------

    def test_stable_order(self) -> None:
        """Check that every instance yields the same clips in the same order, each time."""
        with self.sample_path() as path:
            first, corpus = self.read(path), self.create(path)
            for words in ("a new instance", "the same instance a second time"):
                with running(self.where, f"clips, by {words}", cause=_CLIPS):
                    again = list(corpus.clips())
                require(
                    again == first,
                    self.where,
                    f"{words} yields other clips, or another order",
                    expected="the same clips in the same order",
                    cause="iterdir() or rglob() without sorted(...); or an exhausted iterator",
                )

    def test_any_current_directory(self) -> None:
        """Check that the clips do not depend on the current directory."""
        with self.sample_path() as path:
            first = self.read(path)
            with tempfile.TemporaryDirectory() as elsewhere, contextlib.chdir(elsewhere):
                elsewhere_clips = self.read(path, f"{self.where}, started in another folder")
        relative = [c for c in first if not c.recording.path.is_absolute()]
        require(
            elsewhere_clips == first and not relative,
            self.where,
            "the clips change with the folder in which the program is started",
            expected="paths that begin with the corpus's path",
            cause="relative paths: write self.path / name",
        )

    def test_moved(self) -> None:
        """Check that a moved corpus has the same clips: names, labels, speakers, attributes."""
        with self.sample_path() as path, tempfile.TemporaryDirectory() as folder:
            if path is None:
                skip("the corpus generates its own data")
            first = self.read(path)
            link = Path(folder).resolve() / "moved"
            try:
                link.symlink_to(path.parent, target_is_directory=True)
            except OSError:
                skip("this system does not allow symbolic links")
            moved = self.read(link / path.name, f"{self.where}, under another path")
        require(
            list(map(_identity, first)) == list(map(_identity, moved)),
            self.where,
            "under another path the clips have other names, labels, speakers or attributes",
            expected="the same fields: runs on different machines are compared by clip name",
            cause="folders above the corpus in a field: use file.relative_to(self.path)",
        )

    def test_leaves_no_traces(self) -> None:
        """Check that the plugin writes nothing into the corpus or to standard output."""
        printed = io.StringIO()
        with self.sample_path() as path:
            before = contents(path)
            with contextlib.redirect_stdout(printed):
                self.read(path)
            after = contents(path)
        require(
            before == after,
            self.where,
            "files in the corpus were created, changed or deleted",
            expected="an unchanged corpus: it may be read-only, or shared",
            cause="an index that the plugin stores beside the recordings",
        )
        require_silence(self.where, printed)


def _identity(clip: Clip) -> tuple[Any, ...]:
    return clip.name, clip.label, clip.speaker, clip.attributes


_CLIPS = "a file name, a line or a label that the corpus does not expect"
_DETECT = (
    "`detect` opens the path without a check: test path.is_dir() first, and catch the errors of "
    "reading"
)
