"""What the networks see: some clips of different classes, drawn from the cache."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ....cache import FeatureCache
from ...contracts import Clip, Extractor
from ...contracts.data import Panel, default_panels
from ...contracts.errors import FusionError
from ...registry.registry import Registry
from ...runs.plan import make_extractors
from .charts import barcode, curves, scattered
from .drawing import Mark, legend, series_colour
from .markup import Html, element, figures, join, missing, paragraph, section
from .run_data import ReadRun

_CLIPS = 3
_MOST_PANELS = 12  # of one clip and modality
_MOST_PIXELS = 256  # of either side of an image


@dataclass(frozen=True)
class _Example:
    """One modality of one clip."""

    clip: Clip
    panels: list[Panel]
    fault: str = ""  # of the extractor, where its own pictures could not be made


def examples(run: ReadRun, registry: Registry | None) -> Html:
    """Pictures of the features of a few test clips, one modality after the other."""
    title = "What the networks see"
    if run.data is None:
        return section("examples", title, missing("clips.csv can't be read."))
    chosen = chosen_clips(run)
    extractors = _extractors(run, registry)
    parts = [_modality(run, m, extractors.get(m), chosen) for m in run.modalities]
    if any(not run.data.clips[i].recording.path.exists() for i in chosen):
        parts.append(
            missing("Some recordings are not where they were: what needs them is left out.")
        )
    return section("examples", title, *parts)


def chosen_clips(run: ReadRun) -> list[int]:
    """Test clips of different classes, of one speaker as far as that goes."""
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


def _extractors(run: ReadRun, registry: Registry | None) -> Mapping[str, Extractor]:
    """Those that know how their arrays are drawn; none where a plugin is gone."""
    if registry is None:
        return {}
    try:
        return make_extractors(run.config, registry)
    except FusionError:
        return {}


def _modality(
    run: ReadRun, modality: str, extractor: Extractor | None, chosen: Sequence[int]
) -> Html:
    head = element("h3", modality)
    assert run.data is not None
    absent = run.data.absent.get(modality)
    chosen = [index for index in chosen if absent is None or not absent[index]]
    if not chosen:
        return join([head, missing("The clips shown here do not have it.")])
    try:
        arrays = _arrays(run, modality, chosen)
    except (FusionError, OSError) as error:
        told = error.message if isinstance(error, FusionError) else str(error)
        return join([head, missing(f"Its arrays are no longer in the cache: {told}")])
    assert run.data is not None
    found = [
        _example(run, modality, extractor, array, index)
        for index, array in zip(chosen, arrays, strict=True)
    ]
    faults = dict.fromkeys(example.fault for example in found if example.fault)
    notes = [missing(f"Its own pictures could not be made: {fault}") for fault in faults]
    if all(len(example.panels) == 1 for example in found):
        return join([head, _side_by_side(found, modality), *notes])
    return join([head, *(_drawn(example, modality) for example in found), *notes])


def _arrays(run: ReadRun, modality: str, chosen: Sequence[int]) -> npt.NDArray[np.generic]:
    assert run.data is not None
    fingerprint = run.record.features[modality].fingerprint(modality)
    cache = FeatureCache(run.config.cache)
    return cache.open(fingerprint, [run.data.keys[index] for index in chosen]).load()


def _example(
    run: ReadRun,
    modality: str,
    extractor: Extractor | None,
    array: npt.NDArray[np.generic],
    index: int,
) -> _Example:
    assert run.data is not None
    clip = run.data.clips[index]
    if extractor is None:
        return _Example(clip, default_panels(_Unknown(run, modality), array))
    recording = clip.recording if clip.recording.path.exists() else None
    try:
        return _Example(clip, extractor.panels(array, recording))
    except Exception as error:  # a plugin's fault must not cost the report
        told = f"{type(error).__name__}: {error}"
        return _Example(clip, default_panels(extractor, array), told)


class _Unknown(Extractor):
    """Stands in for the extractor of a plugin that is gone: the run knows its axes."""

    def __init__(self, run: ReadRun, modality: str) -> None:
        branches = run.record.model.branches
        axes = next(b.modality.axes for b in branches if b.modality.name == modality)
        vars(self).update(name=modality, axes=axes)


def _side_by_side(found: Sequence[_Example], modality: str) -> Html:
    """Clips with one picture each, in one row."""
    each: list[tuple[object, Html]] = []
    for example in found:
        (panel,), clip = example.panels, example.clip
        drawn = _panel(panel, _series([panel]), f"{modality} of {clip.label}, {clip.name}")
        each.append((f"{panel.title} {clip.label}".strip(), join([drawn, _name(clip)])))
    return figures(each)


def _name(clip: Clip) -> Html:
    return paragraph(f"{clip.corpus}/{clip.name}", class_="note")


def _drawn(example: _Example, modality: str) -> Html:
    clip, panels = example.clip, example.panels
    shown = panels if len(panels) <= _MOST_PANELS else panels[: _MOST_PANELS - 1]
    marks = _series(shown)
    label = f"{modality} of {clip.label}, {clip.name}"
    each = [
        (panel.title, _panel(panel, marks, f"{panel.title or modality}: {label}"))
        for panel in shown
    ]
    more = f" Of {len(panels)} pictures the first {len(shown)}." if shown != panels else ""
    if not each:
        return paragraph(f"{clip.label}: an array that can't be drawn.")
    return element(
        "div",
        figures(
            each,
            legend=legend([(n, mark) for n, mark in marks.items() if n]),
            caption=join([element("strong", clip.label), f", {clip.corpus}/{clip.name}.{more}"]),
        ),
        class_="example",
    )


def _series(panels: Sequence[Panel]) -> dict[str, Mark]:
    """Give each series name one colour in all panels of a clip, the empty name the last one."""
    names = dict.fromkeys(n for p in panels if p.kind != "image" for n in (*p.data, *p.marks))
    ordered = sorted(names, key=lambda name: name == "")
    return {name: Mark(series_colour(i), marker="o") for i, name in enumerate(ordered)}


def _panel(panel: Panel, marks: Mapping[str, Mark], label: str) -> Html:
    if panel.kind == "image":
        return _image(panel, label)
    groups = [(marks[n], np.asarray(a, dtype=np.float64)) for n, a in panel.data.items()]
    if panel.kind == "points":
        return scattered(groups, x=panel.x, y=panel.y, diagonal=panel.diagonal, label=label)
    if panel.kind == "bars":
        return barcode(groups, x=panel.x, y=panel.y, label=label)
    lines = [(marks[n], np.asarray(a, dtype=np.float64)) for n, a in panel.marks.items()]
    drawn = curves(groups, x=panel.x, y=panel.y, label=label, lines=lines)
    return element("div", drawn, class_="wide")


def _image(panel: Panel, label: str) -> Html:
    (values,) = panel.data.values()
    low, high = float(np.min(values)), float(np.max(values))
    axes = ", ".join(f"{name} {arrow}" for name, arrow in ((panel.x, "→"), (panel.y, "↑")) if name)
    rows, columns = values.shape
    ratio = min(3.0, max(0.5, columns / rows))
    picture = element(
        "img",
        src=f"data:image/png;base64,{base64.b64encode(_png(values)).decode()}",
        alt=label,
        style=f"aspect-ratio:{ratio:.3f}",
    )
    if panel.marks:
        marked = np.concatenate([np.asarray(a, np.float64) for a in panel.marks.values()])
        picture = element(
            "div", picture, _rings(marked, rows, columns, ratio), class_="marked wide"
        )
    note = f"{axes}{'; ' if axes else ''}{low:.3g} (dark) to {high:.3g} (bright)"
    return join([picture, paragraph(note, class_="note")])


def _rings(marked: npt.NDArray[np.float64], rows: int, columns: int, ratio: float) -> Html:
    """Draw rings around pixels, (n, 2) their columns and rows, as a layer over an image."""
    width = 100 * ratio
    across = (marked[:, 0] + 0.5) / columns * width
    down = 100 - (marked[:, 1] + 0.5) / rows * 100
    rings = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.4"/>' for x, y in zip(across, down, strict=True)
    )
    return Html(f'<svg viewBox="0 0 {width:.1f} 100" aria-hidden="true">{rings}</svg>')


def _png(values: npt.NDArray[np.generic]) -> bytes:
    """The image in 128 colours from its smallest to its largest value, row 0 at the bottom."""
    from matplotlib import colormaps
    from PIL import Image

    grid = _thinned(np.asarray(values, dtype=np.float64))[::-1]
    low, span = grid.min(), np.ptp(grid)
    levels = np.zeros(grid.shape) if span == 0 else (grid - low) / span
    picture = Image.fromarray((127 * levels).round().astype(np.uint8), mode="P")
    colours = (255 * colormaps["viridis"](np.linspace(0, 1, 128))[:, :3]).round()
    picture.putpalette(colours.astype(np.uint8).tobytes())
    file = io.BytesIO()
    picture.save(file, format="png", optimize=True)
    return file.getvalue()


def _thinned(image: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Means over blocks of pixels where there are more than a page shows."""
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
