"""Section with example features: a few test clips of different classes, from the cache."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ....cache import FeatureCache
from ...contracts import Clip, Extractor, Recording
from ...contracts.data import default_panels
from ...contracts.errors import FusionError
from ...contracts.panels import Panel
from ...runs.trust import without_places
from .charts import barcode, curves, diagrams, scattered
from .drawing import Mark, series_colour
from .page import Figure, Image
from .run_data import ReadRun

_CLIPS = 3  # shown clips
_MOST_PANELS = 12  # maximum number of pictures per clip and modality
_MOST_PIXELS = 256  # maximum number of pixels along either side of an image

Array = npt.NDArray[np.generic]


class Example(NamedTuple):
    """Pictures of one clip's feature in one modality, their legend, and their total number."""

    clip: Clip
    figures: list[Figure]
    marks: list[tuple[str, Mark]]
    total: int


class View(NamedTuple):
    """Section of one modality: one picture per clip in a row, or several pictures per clip."""

    modality: str
    row: Sequence[Figure] = ()
    examples: Sequence[Example] = ()
    notes: Sequence[str] = ()


def views(run: ReadRun, extractors: Mapping[str, Extractor]) -> list[View]:
    """Draw the features of a few test clips, one view per modality."""
    chosen = chosen_clips(run)
    return [_view(run, m, extractors.get(m), chosen) for m in run.modalities]


def recordings_missing(run: ReadRun) -> bool:
    """Return True if the recording of a shown clip no longer exists at its path."""
    assert run.data is not None
    return any(not run.data.clips[i].recording.path.exists() for i in chosen_clips(run))


def chosen_clips(run: ReadRun) -> list[int]:
    """Return up to three test clips of different classes, preferably of a single speaker."""
    assert run.data is not None
    clips, test = run.data.clips, run.data.splits[0].test.tolist()
    if not test:
        return []
    first = clips[test[0]]
    own = [i for i in test if (clips[i].corpus, clips[i].speaker) == (first.corpus, first.speaker)]
    by_class: dict[int, int] = {}
    for index in [*own, *test]:
        by_class.setdefault(int(run.data.targets[index]), index)
    return [by_class[target] for target in sorted(by_class)][:_CLIPS]


def _view(run: ReadRun, modality: str, extractor: Extractor | None, chosen: Sequence[int]) -> View:
    """Draw the features of the chosen clips in one modality."""
    assert run.data is not None
    absent = run.data.absent.get(modality)
    chosen = [index for index in chosen if absent is None or not absent[index]]
    if not chosen:
        return View(modality, notes=["The clips shown here lack this modality."])
    try:
        arrays = _arrays(run, modality, chosen)
    except (FusionError, OSError) as error:
        reason = error.message if isinstance(error, FusionError) else str(error)
        return View(modality, notes=[f"The features are no longer in the cache: {reason}"])
    panels_by_clip, notes = [], {}
    for index, array in zip(chosen, arrays, strict=True):
        clip = run.data.clips[index]
        recording = run.data.shown(modality, index).recording
        panels, fault = _panels(extractor or _Unknown(run, modality), array, recording)
        panels_by_clip.append((clip, panels))
        if fault:
            notes[
                f"The extractor could not draw its pictures, so default ones are shown: {fault}"
            ] = True
    if all(len(panels) == 1 for _, panels in panels_by_clip):
        row = [_single_picture(clip, panels[0], modality) for clip, panels in panels_by_clip]
        return View(modality, row, notes=list(notes))
    return View(modality, (), [example(*each, modality) for each in panels_by_clip], list(notes))


def _arrays(run: ReadRun, modality: str, chosen: Sequence[int]) -> Array:
    """Load the features of the chosen clips from the cache."""
    assert run.data is not None
    fingerprint = run.record.features[modality].fingerprint(modality)
    cache = FeatureCache(without_places(run.config).cache)
    return cache.open(fingerprint, [run.data.shown(modality, i).key for i in chosen]).load()


def _panels(extractor: Extractor, array: Array, place: Recording) -> tuple[list[Panel], str]:
    """Return the pictures of a clip, and the error if the extractor failed to draw them."""
    try:
        return extractor.panels(array, place if place.path.exists() else None), ""
    except Exception as error:  # an error in a plugin must not prevent the report
        return default_panels(extractor, array), f"{type(error).__name__}: {error}"


class _Unknown(Extractor):
    """Placeholder for an extractor whose plugin can't be loaded; the run stores its axes."""

    def __init__(self, run: ReadRun, modality: str) -> None:
        branches = run.record.model.branches
        axes = next(b.modality.axes for b in branches if b.modality.name == modality)
        vars(self).update(name=modality, axes=axes)


def _single_picture(clip: Clip, panel: Panel, modality: str) -> Figure:
    """Draw the only picture of a clip, for a row with the pictures of other clips."""
    figure = _figure(panel, _marks([panel]), f"{modality} of {clip.label}, {clip.name}")
    notes = (*figure.notes, f"{clip.corpus}/{clip.name}")
    return figure._replace(title=f"{panel.title} {clip.label}".strip(), notes=notes)


def example(clip: Clip, panels: Sequence[Panel], modality: str) -> Example:
    """Draw the pictures of a clip, or the first of them if there are too many."""
    shown = panels if len(panels) <= _MOST_PANELS else panels[: _MOST_PANELS - 1]
    marks, label = _marks(shown), f"{modality} of {clip.label}, {clip.name}"
    figures = [_figure(panel, marks, f"{panel.title or modality}: {label}") for panel in shown]
    return Example(clip, figures, [(n, mark) for n, mark in marks.items() if n], len(panels))


def _marks(panels: Sequence[Panel]) -> dict[str, Mark]:
    """Return the mark of each series, the same in all panels; the empty name comes last."""
    names = dict.fromkeys(n for p in panels if p.kind != "image" for n in (*p.data, *p.marks))
    ordered = sorted(names, key=lambda name: name == "")
    return {name: Mark(series_colour(i), marker="o") for i, name in enumerate(ordered)}


def _figure(panel: Panel, marks: Mapping[str, Mark], label: str) -> Figure:
    """Draw one panel."""
    if panel.kind == "image":
        return _image(panel, label)
    groups, lines = (
        [(marks[n], np.asarray(a, dtype=np.float64)) for n, a in arrays.items()]
        for arrays in (panel.data, panel.marks)
    )
    if panel.kind == "points":
        drawn = scattered(groups, x=panel.x, y=panel.y, diagonal=panel.diagonal, label=label)
    elif panel.kind == "curve":
        drawn = curves(groups, x=panel.x, y=panel.y, label=label, lines=lines)
    else:
        chart = {"diagram": diagrams, "bars": barcode}[panel.kind]
        drawn = chart(groups, x=panel.x, y=panel.y, label=label)
    return Figure(panel.title, drawn, wide=panel.kind == "curve")


def _image(panel: Panel, label: str) -> Figure:
    """Draw an image panel, with a ring around each marked point."""
    (values,) = panel.data.values()
    axes = ", ".join(f"{name} {arrow}" for name, arrow in ((panel.x, "→"), (panel.y, "↑")) if name)
    rows, columns = values.shape
    ratio = min(3.0, max(0.5, columns / rows))
    rings = [
        ((column + 0.5) / columns * 100 * ratio, 100 - (row + 0.5) / rows * 100)
        for marked in panel.marks.values()
        for column, row in np.asarray(marked, np.float64).tolist()
    ]
    note = f"{axes}{'; ' if axes else ''}{values.min():.3g} (dark) to {values.max():.3g} (bright)"
    image = Image(_png(values), label, ratio, rings)
    return Figure(panel.title, image, (note,), wide=bool(panel.marks))


def _png(values: Array) -> str:
    """Return an image as a PNG in base64, with row 0 at the bottom.

    The values are mapped to 128 colours, from the smallest to the largest value.
    """
    from matplotlib import colormaps
    from PIL.Image import fromarray

    grid = _thinned(np.asarray(values, dtype=np.float64))[::-1]
    low, span = grid.min(), np.ptp(grid)
    levels = np.zeros(grid.shape) if span == 0 else (grid - low) / span
    picture = fromarray((127 * levels).round().astype(np.uint8), mode="P")
    colours = (255 * colormaps["viridis"](np.linspace(0, 1, 128))[:, :3]).round()
    picture.putpalette(colours.astype(np.uint8).tobytes())
    file = io.BytesIO()
    picture.save(file, format="png", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def _thinned(image: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Reduce an image that is too large to the means over blocks of pixels."""
    for axis in (0, 1):
        size = image.shape[axis]
        block = -(-size // _MOST_PIXELS)
        if block > 1:
            starts = np.arange(0, size, block)
            width = np.diff([*starts, size])
            shape = [1, 1]
            shape[axis] = len(width)
            image = np.add.reduceat(image, starts, axis=axis) / width.reshape(shape)
    return image
