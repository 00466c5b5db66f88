"""What flows between the floors before there are tensors: recordings, clips, arrays.

Nothing here imports torch, so corpora and extractors load fast.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from .errors import PluginError, RecordingError
from .renamed import take_up
from .space import Space


class Plugin:
    """What every pluggable class has: a name, a version, and parameters.

    Parameters of a plugin are the keyword arguments of ``__init__`` that have an
    annotation and a default. ``fusion plugins show NAME`` prints them with the text
    of the docstring's *Parameters* section; ``--set NAME.PARAMETER=VALUE`` sets them.

    Attributes
    ----------
    name : str
        What users type. Lower case letters, digits and underscores.
    version : str
        Raise it whenever the numbers that the plugin makes change.
    default : bool
        Whether a run uses it when the user names none of its kind.
    space : mapping of str to Space
        Parameter -> the values that ``fusion run --tune`` may try; of branches, strategies
        and balancers. What is not in it keeps its default.
    conformance : mapping of str to Any
        What its conformance suite is to know, attributes of the suite by name, for
        ``fusion plugins check``: ``{"order_matters": "the modalities take turns"}``.
    """

    name: ClassVar[str]
    version: ClassVar[str] = "1"
    default: ClassVar[bool] = False
    space: ClassVar[Mapping[str, Space]] = {}
    conformance: ClassVar[Mapping[str, Any]] = {}

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        take_up(cls)


@dataclass(frozen=True, slots=True)
class Recording:
    """What an extractor may see: where the signal is, and nothing of its label.

    Attributes
    ----------
    path : Path
        The file.
    start : float
        First second of the clip within the file, >= 0.
    end : float or None
        Last second; None means to the end of the file.
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
    """One recording with a label, a speaker and a corpus: the unit of everything.

    Attributes
    ----------
    recording : Recording
        Where the signal is.
    name : str
        Unique within its corpus and stable between machines (a relative path).
    label : str
        The class, in the corpus's own words until labels are mapped.
    speaker : str
        Unique within the corpus. Two clips of one speaker never lie in two parts of a split.
    corpus : str
        Name of the corpus.
    split : str or None
        ``"train"``, ``"val"`` or ``"test"`` where the corpus prescribes it.
    fold : str or None
        The test fold that the corpus prescribes.
    attributes : mapping
        Anything else that is known (``"sentence"``, ``"intensity"``, ...).
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
    """Reads a data set of clips from a folder or file.

    Parameters
    ----------
    path : Path or None
        Where the corpus lies. None only for a corpus that makes itself
        (``needs_path = False``).

    Attributes
    ----------
    labels : mapping of str to str
        The corpus's own label -> one of the six shared emotions. A label that is missing
        here is left out of runs on shared labels, counted and shown. Empty means that the
        labels are free text, matched by the shared emotions' common spellings.
    needs_path : bool
        False for a corpus that is generated.
    priority : int
        When several corpora recognise a path, the highest wins; generic readers stay at 0.
    synthetic : bool
        True for generated data: its figures are then marked as evidence of nothing.
    """

    labels: ClassVar[Mapping[str, str]] = {}
    needs_path: ClassVar[bool] = True
    priority: ClassVar[int] = 10
    synthetic: ClassVar[bool] = False

    def __init__(self, path: Path | None) -> None:
        self.path = path

    @classmethod
    def detect(cls, path: Path) -> bool:
        """Whether `path` looks like this corpus. Must be quick and must not raise."""
        return False

    def clips(self) -> Iterable[Clip]:
        """Yield the clips, labels in the corpus's own words, in a stable order.

        Raises
        ------
        CorpusError
            If the path holds nothing of this corpus.
        """
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture of a clip's feature, as plain numbers that a report draws.

    Attributes
    ----------
    title : str
        What it shows, in a few words; may be empty.
    kind : {"image", "points", "diagram", "curve", "bars"}
        An image (rows, columns), drawn with row 0 at the bottom; points (n, 2), each an x and a
        y; a persistence diagram (n, 2), each a birth and a death, infinite for what never ends; a
        curve (n,) over its index; or bars (n, 2), each the two ends of an interval on the x axis:
        a barcode, drawn one above the other in the order given.
    data : mapping of str to array
        What is drawn over each other, by the name that the legend gives it. An image is alone.
    x, y : str
        What the axes mean, with the unit; may be empty.
    diagonal : bool
        Whether to draw the line x = y under points.
    marks : mapping of str to array
        What is drawn on top, by name. On an image (n, 2), each the column and the row of a pixel,
        which a ring marks. On a curve (n, 3), each an index and two values, which a vertical line
        connects. Other kinds have none.
    """

    title: str
    kind: Literal["image", "points", "diagram", "curve", "bars"]
    data: Mapping[str, npt.NDArray[Any]]
    x: str = ""
    y: str = ""
    diagonal: bool = False
    marks: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        pairs = self.kind in ("points", "diagram", "bars")
        axes = 2 if pairs else {"image": 2, "curve": 1}.get(self.kind)
        shapes = [np.shape(array) for array in self.data.values()]
        fits = all(len(shape) == axes for shape in shapes) and (
            len(shapes) == 1 if self.kind == "image" else True
        )
        if pairs:
            fits = fits and all(shape[1] == 2 for shape in shapes)
        if not fits:
            raise PluginError(
                f"A panel {self.title!r} of kind {self.kind!r} can't hold arrays of the shapes "
                f"{shapes}.",
                hint="An image is one array (rows, columns), points, diagrams and bars are (n, 2), "
                "a curve is (n,).",
            )
        width = {"image": 2, "curve": 3}.get(self.kind)
        marked = [np.shape(array) for array in self.marks.values()]
        if any(len(shape) != 2 or shape[1] != width for shape in marked):
            raise PluginError(
                f"A panel {self.title!r} of kind {self.kind!r} can't have marks of the shapes "
                f"{marked}.",
                hint="Marks are (n, 2) on an image, column and row, and (n, 3) on a curve, index "
                "and two values; points, diagrams and bars have none.",
            )


class Extractor(Plugin):
    """Turns a recording into one array of a declared shape and dtype: a modality.

    The extractor's name, version, parameters (:meth:`identity`), shape, dtype and the
    versions of the `libraries` make its fingerprint: two arrays with one fingerprint and one
    recording content are the same array.

    Write :meth:`extract`, or, where many recordings at a time are quicker than one after the
    other (a network on a GPU), :meth:`extract_many` and a `batch`. What depends on parameters
    (`shape`, `axes`, `batch`, `default_branch` ...) is set in ``__init__``.

    Attributes
    ----------
    shape : tuple of int
        Shape of one array.
    dtype : str
        numpy name of the dtype, ``"float32"`` by default.
    axes : tuple of str
        What each axis means, e.g. ``("channel", "frequency", "time")``. Masking during
        training applies to axes called ``"frequency"`` and ``"time"`` only.
    channels : tuple of str
        What each entry of the axis called ``"channel"`` holds, for people; may be empty. Words
        that several names share make groups: ``("Euclidean H0", "Euclidean H1", ...)`` are
        explained by metric and by homology as well. It decides no numbers.
    libraries : tuple of str
        Distributions whose versions decide the numbers.
    batch : int
        How many recordings :meth:`extract_many` is given at most. A batch should take well
        under a minute: progress shows, and a kill loses, no less.
    processes : int or None
        How many processes of one machine may work at a time; None leaves it to ``--jobs``. Say 1
        where the work is done by an accelerator that processes would only share: each of them
        would load the network once more. A property may look whether there is one.
    default_branch : str or None
        The branch that suits it; None lets the first branch that accepts the shape serve.
    default_branch_parameters : mapping
        Parameters for that branch.
    sources : tuple of str
        Names in `parameters` and :meth:`identity` that only say where recordings are looked up,
        such as a table with a row for each. A trained model can't tell one from another: new
        recordings may be labelled with another (``fusion predict --set NAME.SOURCE=VALUE``). What
        makes the numbers, such as the weights of a network, is none.
    by_place : bool
        Whether arrays depend on where a recording lies: a row under its name, a file beside it.
        Features are kept by the content of a recording; where two files hold the same, fusion
        then sees to it that one array is right for both.
    added_parameters : mapping of str to Any
        Parameter that was added when features had been stored already -> its default, which makes
        the arrays from before. At this value the fingerprint and the settings of a run lack the
        parameter: features and runs of before stay valid. If the default changes, take it out.
    parameters : mapping
        What ``__init__`` was called with, defaults included; set by fusion. What ``__init__``
        itself put there stays: a value that it has settled, such as a path made absolute.
    """

    shape: tuple[int, ...]
    parameters: Mapping[str, Any] = {}
    dtype: str = "float32"
    channels: tuple[str, ...] = ()
    axes: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    batch: int = 1
    default_branch: str | None = None
    default_branch_parameters: Mapping[str, Any] = {}
    sources: ClassVar[tuple[str, ...]] = ()
    by_place: ClassVar[bool] = False
    added_parameters: ClassVar[Mapping[str, Any]] = {}

    @property
    def processes(self) -> int | None:
        return None

    def identity(self) -> Mapping[str, Any]:
        """The parameters that decide the numbers, as the fingerprint has them.

        By default all of `parameters`. Leave out those that decide nothing (a batch size, a
        device), and put the content's digest in place of a path: arrays are then found again
        when the file has moved, and computed anew when it is another one under the same name.

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
        found = self.extract_many([recording])[0]
        if isinstance(found, Exception):
            raise found
        return found

    def extract_many(
        self, recordings: Sequence[Recording]
    ) -> Sequence[npt.NDArray[Any] | RecordingError]:
        """Compute the arrays for up to `batch` recordings; by default one after the other.

        An array may not depend on its neighbours, but for rounding: a batch of one, or another
        order, makes the same array. Where a recording can't be read, its RecordingError stands
        in its place. If anything else goes wrong it may be raised: the recordings are then
        asked for one at a time, so that the guilty one fails alone.

        Returns
        -------
        sequence of array or RecordingError
            One for each recording, in their order.
        """
        found: list[npt.NDArray[Any] | RecordingError] = []
        for recording in recordings:
            try:
                found.append(self.extract(recording))
            except RecordingError as error:
                found.append(error)
        return found

    def panels(self, array: npt.NDArray[Any], recording: Recording | None = None) -> list[Panel]:
        """Pictures of one clip for a report: what the networks see of it, and what explains it.

        By default a curve for an array of one axis, an image for two, and for three an image
        for each index of the first. Override it to say more.

        Parameters
        ----------
        array : array
            What :meth:`extract` returned for the clip.
        recording : Recording or None
            Where the signal is, for pictures that need more than `array`; None where it can't
            be read any more.
        """
        return default_panels(self, array)

    def check(self, array: npt.NDArray[Any] | None, *, whose: str = "") -> npt.NDArray[Any]:
        """Return `array` in the declared dtype.

        Parameters
        ----------
        whose : str
            What a message says after the extractor's name: which plugin it is of.

        Raises
        ------
        PluginError
            If it is not as declared: None, another shape, NaN or infinite values, or values that
            the dtype can't hold.
        """
        who = f"Extractor {self.name!r}{whose}"
        if array is None:
            raise PluginError(
                f"{who} returned None.", hint="Is there a `return` at the end of extract()?"
            )
        array = np.asarray(array)
        if array.shape != self.shape:
            raise PluginError(
                f"{who} declares arrays of shape {self.shape} and returned one of shape "
                f"{array.shape}.",
                hint="Set self.shape in __init__ to what extract() returns.",
            )
        if not np.isfinite(array).all():
            raise PluginError(f"{who} returned an array with NaN or infinite values.")
        with np.errstate(over="ignore"):
            stored = array.astype(self.dtype, copy=False)
        if not np.isfinite(stored).all():
            raise PluginError(
                f"{who} returned values up to {np.abs(array).max():.3g}, which {self.dtype} can't "
                "hold.",
                hint="Store this feature as float32: --dtype FEATURE=float32",
            )
        return stored


def default_panels(extractor: Extractor, array: npt.NDArray[Any]) -> list[Panel]:
    """A curve, an image, or an image for each index of the first of three axes."""
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
    """One view of every clip, as the networks need to know it.

    Attributes
    ----------
    name : str
        The extractor's name.
    shape : tuple of int
        Shape of one clip's array.
    axes : tuple of str
        What each axis means; may be empty.
    """

    name: str
    shape: tuple[int, ...]
    axes: tuple[str, ...] = ()
