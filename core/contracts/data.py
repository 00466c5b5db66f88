"""Contracts for data before training: recordings, clips, corpora, extractors and their arrays.

This module does not import torch, so corpora and extractors load fast.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ...cache.exchange.columns import ColumnChoice as ColumnChoice
from .errors import PluginError, RecordingError
from .panels import Panel
from .renamed import define_new_names
from .space import Space


class Plugin:
    """Base class of every plugin: a name, a version and parameters.

    Parameters of a plugin are the keyword arguments of ``__init__`` that have an
    annotation and a default. ``fusion plugins show NAME`` prints them with the text
    of the docstring's *Parameters* section. ``--set NAME.PARAMETER=VALUE`` sets a parameter.

    Attributes
    ----------
    name : str
        The name that users type: lower-case letters, digits and underscores.
    version : str
        Version of the plugin. Raise it whenever the numbers that the plugin computes change.
    default : bool
        Whether a run uses the plugin when the user names no plugin of its kind.
    space : mapping of str to Space
        Values that ``fusion run --tune`` may try, by parameter, for branches, strategies
        and balancers. A parameter that is not listed keeps its default.
    conformance : mapping of str to Any
        Attributes of the conformance suite to set in ``fusion plugins check``, by name. Example:
        ``{"order_matters": "the modalities take turns"}``.
    """

    name: ClassVar[str]
    version: ClassVar[str] = "1"
    default: ClassVar[bool] = False
    space: ClassVar[Mapping[str, Space]] = {}
    conformance: ClassVar[Mapping[str, Any]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        define_new_names(cls)


@dataclass(frozen=True, slots=True)
class Recording:
    """Location of a clip's signal, without its label.

    An extractor receives only this object and therefore can't see the label.

    Attributes
    ----------
    path : Path
        The file.
    start : float
        Start of the clip within the file, in seconds, >= 0.
    end : float or None
        End of the clip within the file, in seconds; None means the end of the file.
    """

    path: Path
    start: float = 0.0
    end: float | None = None

    def __str__(self) -> str:
        if not self.start and self.end is None:
            return str(self.path)
        end = "its end" if self.end is None else f"{self.end:g} s"
        return f"{self.path} from {self.start:g} s to {end}"


@dataclass(frozen=True, slots=True)
class Clip:
    """One recording with its label, speaker and corpus: one example of the data set.

    Attributes
    ----------
    recording : Recording
        Location of the signal.
    name : str
        Name of the clip, usually a relative path: unique within its corpus and the same on every
        machine.
    label : str
        The class: the corpus's own label until labels are mapped to the shared emotions.
    speaker : str
        Identifier of the speaker, unique within the corpus. All clips of one speaker are in
        the same part of a split.
    corpus : str
        Name of the corpus.
    split : str or None
        ``"train"``, ``"val"`` or ``"test"`` if the corpus prescribes the split.
    fold : str or None
        The test fold that the corpus prescribes, if any.
    attributes : mapping
        Any other metadata of the clip (``"sentence"``, ``"intensity"``, ...).
    """

    recording: Recording
    name: str
    label: str
    speaker: str
    corpus: str
    split: str | None = None
    fold: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)


class Corpus(Plugin):
    """Reader of a data set of clips in a folder or file.

    Parameters
    ----------
    path : Path or None
        Folder or file of the corpus. None only for a generated corpus
        (``needs_path = False``).

    Attributes
    ----------
    labels : mapping of str to str
        One of the six shared emotions for each label of the corpus. A run on shared labels leaves
        out clips whose label is not listed, and reports the number of these clips. An empty
        mapping means that the labels are free text: fusion recognises common spellings of the
        shared emotions.
    needs_path : bool
        Whether the corpus needs a path; False for a corpus that is generated.
    priority : int
        The corpus with the highest priority is used when several recognise a path. Generic
        readers stay at 0; a reader of any folder of recordings has -1.
    synthetic : bool
        True for generated data. Results are then marked as no evidence about real data.
    columns : ColumnChoice
        The user's choice of columns, for corpora that are read from a table; set by fusion before
        :meth:`clips` is called.
    columns_used : dict of str to str
        Column of the table by role (``"label"``, ``"speaker"`` ...), for corpora that are read from
        a table. Filled by :meth:`clips`; printed and stored with a run.
    passed_over : dict of str to list of str
        Files and rows that do not become clips, by reason; see :meth:`pass_over`.
    """

    labels: ClassVar[Mapping[str, str]] = {}
    needs_path: ClassVar[bool] = True
    priority: ClassVar[int] = 10
    synthetic: ClassVar[bool] = False
    columns: ColumnChoice = ColumnChoice()

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.columns_used: dict[str, str] = {}
        self.passed_over: dict[str, list[str]] = {}

    @classmethod
    def detect(cls, path: Path) -> bool:
        """Return whether `path` looks like this corpus. Must be quick and must not raise."""
        return False

    def clips(self) -> Iterable[Clip]:
        """Yield the clips in a stable order, with the corpus's own labels.

        Raises
        ------
        CorpusError
            If the path contains no clips of this corpus.
        """
        raise NotImplementedError

    def pass_over(self, item: str | Path, reason: str) -> None:
        """Record that a file or row does not become a clip.

        Parameters
        ----------
        item : str or Path
            The file, or the location of the row.
        reason : str
            Reason, the same text for all items of one kind: ``"no label"``, ``"not a recording
            (.txt)"``. A run prints and stores the number of items by reason.
        """
        self.passed_over.setdefault(reason, []).append(str(item))


class Extractor(Plugin):
    """Plugin that computes one array of a declared shape and dtype per recording: one modality.

    The fingerprint of an extractor consists of its name, version, parameters
    (:meth:`identity`), shape and dtype, and of the versions of its `libraries`. Two arrays with
    the same fingerprint, from recordings of the same content, are equal.

    Implement :meth:`extract`. If many recordings at once are faster than one at a time (a
    network on a GPU), implement :meth:`extract_many` instead and set `batch`. Attributes that
    depend on parameters (`shape`, `axes`, `batch`, `default_branch` ...) are set in ``__init__``.

    Attributes
    ----------
    shape : tuple of int
        Shape of one array.
    dtype : str
        numpy name of the dtype, ``"float32"`` by default.
    axes : tuple of str
        Meaning of each axis, e.g. ``("channel", "frequency", "time")``. Masking during
        training applies to axes called ``"frequency"`` and ``"time"`` only.
    channels : tuple of str
        Readable name of each entry of the axis called ``"channel"``; may be empty. Channels whose
        names share a word form a group, which ``fusion explain`` also measures: the names
        ``("Euclidean H0", "Euclidean H1", ...)`` give groups by metric and by homology degree.
        The names do not affect any array.
    libraries : tuple of str
        Installed Python packages whose versions affect the arrays.
    batch : int
        Largest number of recordings per call of :meth:`extract_many`. A batch should take well
        under a minute: progress is reported per batch, and a killed build loses its last batch.
    processes : int or None
        Largest number of processes that may extract at the same time on one machine; None leaves
        the number to ``--jobs``. Return 1 if an accelerator does the work: several processes would
        share the accelerator, and each process would load the network again. A property may check
        for an accelerator.
    seconds : float or None
        Length in seconds of the longest part of a recording that one array represents. A longer
        recording is divided into windows of this length. None means that an array represents a
        recording of any length.
    default_branch : str or None
        Name of the branch that suits the modality. None selects the first branch that accepts the
        shape.
    default_branch_parameters : mapping
        Parameters of the default branch.
    sources : tuple of str
        Names in `parameters` and :meth:`identity` that only locate the data of a recording, such
        as the path of a table with one row per recording. A trained model does not depend on the
        source, so new recordings may use another source
        (``fusion predict --set NAME.SOURCE=VALUE``). A parameter that determines the numbers,
        such as the weights of a network, is not a source.
    note : str
        Line that a run prints about the extractor, such as the columns of a table that became
        features; empty for none.
    by_place : bool
        Whether arrays depend on the path of a recording (a table row under its name, a file
        beside it). Features are stored by the content of a recording. If two files have the same
        content, fusion then checks that one array is right for both.
    added_parameters : mapping of str to Any
        Defaults of parameters that were added after features had been stored, by parameter. A
        default must reproduce the stored arrays. A parameter with its default is left out of the
        fingerprint and of the settings of a run, so earlier features and runs stay valid. Remove
        the entry if the default changes.
    parameters : mapping
        Arguments of ``__init__``, defaults included; set by fusion. Entries that ``__init__``
        itself has set are kept, for instance a path that ``__init__`` has made absolute.
    """

    shape: tuple[int, ...]
    parameters: Mapping[str, Any] = {}
    dtype: str = "float32"
    channels: tuple[str, ...] = ()
    axes: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    batch: int = 1
    seconds: float | None = None
    default_branch: str | None = None
    default_branch_parameters: Mapping[str, Any] = {}
    note: str = ""
    sources: ClassVar[tuple[str, ...]] = ()
    by_place: ClassVar[bool] = False
    added_parameters: ClassVar[Mapping[str, Any]] = {}

    @property
    def processes(self) -> int | None:
        """Largest number of processes that extract at the same time; None means no limit."""
        return None

    def identity(self) -> Mapping[str, Any]:
        """Return the parameters that determine the arrays, as they enter the fingerprint.

        The default returns all of `parameters`. Leave out parameters that do not affect the
        arrays (a batch size, a device). Replace a path by the digest of the file's content.
        Stored arrays then stay valid when the file is moved, and are computed again when
        the content of the file changes.

        Returns
        -------
        mapping of str to JSON values
        """
        return self.parameters

    def extract(self, recording: Recording) -> npt.NDArray[Any]:
        """Compute the array for one recording; by default with :meth:`extract_many`.

        Raises
        ------
        RecordingError
            If the recording can't be read. The clip is then left out, counted and listed.
        """
        if type(self).extract_many is Extractor.extract_many:
            raise NotImplementedError(f"{type(self).__name__} has no method extract.")
        result = self.extract_many([recording])[0]
        if isinstance(result, Exception):
            raise result
        return result

    def extract_many(
        self, recordings: Sequence[Recording]
    ) -> Sequence[npt.NDArray[Any] | RecordingError]:
        """Compute the arrays for up to `batch` recordings; by default one after the other.

        Apart from rounding, an array must not depend on the other recordings of the batch or on
        their order. For a recording that can't be read, return a RecordingError instead of an
        array. Any other error may be raised: fusion then extracts the recordings one at a time,
        so that only the faulty recording fails.

        Returns
        -------
        sequence of array or RecordingError
            One result per recording, in the same order.
        """
        results: list[npt.NDArray[Any] | RecordingError] = []
        for recording in recordings:
            try:
                results.append(self.extract(recording))
            except RecordingError as error:
                results.append(error)
        return results

    def panels(self, array: npt.NDArray[Any], recording: Recording | None = None) -> list[Panel]:
        """Return the plots of one clip for a report: the networks' input, and its explanation.

        The default is a curve for an array with one axis, and an image for an array with two
        axes. An array with three axes gives one image per index of its first axis. Override this
        method to show more.

        Parameters
        ----------
        array : array
            The array that :meth:`extract` returned for the clip.
        recording : Recording or None
            Location of the signal, for plots that need more than `array`; None if the recording
            can't be read any more.
        """
        return default_panels(self, array)

    def check(self, array: npt.NDArray[Any] | None, *, whose: str = "") -> npt.NDArray[Any]:
        """Return `array` in the declared dtype.

        Parameters
        ----------
        whose : str
            Origin of the plugin, for the error message (after the extractor's name).

        Raises
        ------
        PluginError
            If `array` is None, has another shape than declared, or contains values that are NaN,
            infinite or out of range for the dtype.
        """
        subject = f"Extractor {self.name!r}{whose}"
        if array is None:
            raise PluginError(
                f"{subject} returned None.", hint="Is there a `return` at the end of extract()?"
            )
        array = np.asarray(array)
        if array.shape != self.shape:
            raise PluginError(
                f"{subject} declares arrays of shape {self.shape}, but returned one of shape "
                f"{array.shape}.",
                hint="Set self.shape in __init__ to the shape that extract() returns.",
            )
        if not np.isfinite(array).all():
            raise PluginError(f"{subject} returned an array with NaN or infinite values.")
        with np.errstate(over="ignore"):
            stored = array.astype(self.dtype, copy=False)
        if not np.isfinite(stored).all():
            raise PluginError(
                f"{subject} returned values up to {np.abs(array).max():.3g}, which {self.dtype} "
                "can't hold.",
                hint="Store this feature as float32: --dtype FEATURE=float32",
            )
        return stored


def default_panels(extractor: Extractor, array: npt.NDArray[Any]) -> list[Panel]:
    """Return the plots of an array by its number of axes; see :meth:`Extractor.panels`.

    An array without axes or with more than three axes has no panel.
    """
    if array.ndim not in (1, 2, 3):
        return []
    axes = (*extractor.axes, *[""] * array.ndim)[: array.ndim]
    if array.ndim == 1:
        return [Panel("", "curve", {"": array}, x=axes[0])]
    if array.ndim == 2 or len(array) == 1:
        image = array.reshape(array.shape[-2:])
        return [Panel("", "image", {"": image}, x=axes[-1], y=axes[-2])]
    names = extractor.channels
    if len(names) != len(array):
        names = tuple(f"{axes[0] or 'channel'} {index}" for index in range(len(array)))
    return [
        Panel(name, "image", {"": image}, x=axes[-1], y=axes[-2])
        for name, image in zip(names, array, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Modality:
    """One view of every clip: its name, and the shape and axes of its arrays.

    Attributes
    ----------
    name : str
        The extractor's name.
    shape : tuple of int
        Shape of one clip's array.
    axes : tuple of str
        Meaning of each axis; may be empty.
    """

    name: str
    shape: tuple[int, ...]
    axes: tuple[str, ...] = ()
