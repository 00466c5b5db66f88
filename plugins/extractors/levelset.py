"""Level-set persistence of a recording: peaks and dips of its spectrogram and contours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ...core.contracts.data import Extractor, Recording
from ...core.contracts.errors import ParameterError, RecordingError
from ...core.contracts.hooks import hookimpl
from ...core.contracts.panels import Panel
from ...core.toolkit.audio import check_spectrum, mel_heights
from ...core.toolkit.ranges import check_ranges

Single = npt.NDArray[np.float32]

FAMILIES = ("surface", "levels", "contours")
CONTOURS = ("level", "centroid", "tilt", "flux", "entropy")
UNITS = ("dB", "mel band", "dB", "dB", "nats")  # units of CONTOURS

# Limits for the figures of a report.
_COLOURS = 4  # colours of a diagram; if there are more ranges, neighbours share a colour
_RINGS = 24  # peaks marked in a spectrogram
_LONGEST = 10  # bars of each colour in a barcode
_LINES = 6  # bars of either filtration in a contour


class LevelSet(Extractor):
    """Statistics of level-set persistence diagrams, (diagrams, 26) float32.

    The log-mel spectrogram is a surface over time and frequency. The height of the surface is
    measured in decibels above a floor, which is `top_db` below the clip's maximum. Three families
    of diagrams describe the peaks and dips of the surface and of curves derived from the surface:

    ======== ==========================================================================
    surface  H0 and H1 of the superlevel sets of the surface, in each of `surface_bands`
             ranges of frequency. H0: peaks, and the passes where a peak joins a higher
             one. H1: dips enclosed by higher values. Pixels are the top-dimensional
             cells of a cubical complex and have 8 neighbours.
    levels   H0 of the superlevel sets over time of the mean height in each of
             `level_bands` ranges of frequency
    contours H0 of the sublevel and of the superlevel sets over time of five contours:
             level (decibels of the mean power over bands), spectral centroid (mean band,
             weighted by power), tilt (mean height of the lower half of the bands minus
             that of the upper half), spectral flux (root mean square over bands of the
             difference to the previous frame; 0 in the first frame) and spectral
             entropy (of the distribution of the power over bands, in nats)
    ======== ==========================================================================

    Births and deaths are heights of the surface or values of the curves. Birth is above death in
    superlevel sets, and below death in sublevel sets. The infinite bar and bars of length 0 are
    omitted. All other bars are kept, because short bars carry information as well.

    Each diagram becomes 26 numbers: number of bars, total persistence, L2 norm of persistence,
    persistent entropy, mean and deviation of persistence and of midlife (the mean of birth and
    death), means of birth, death and midlife weighted by persistence, quartiles and 90th percentile
    of persistence, 10th, 50th and 90th percentile of midlife, and the lengths of the eight longest
    bars. All numbers of a diagram without bars are 0. Silence has only diagrams without bars.

    The diagrams are computed by union-find, with Alexander duality for H1 (Edelsbrunner and Harer
    2010; Garin, Heiss, Maggs, Bleile and Robins 2020). The persistent entropy follows Atienza,
    Gonzalez-Diaz and Soriano-Trigueros (2020); Gonzalez-Diaz, Paluzo-Hidalgo and Quesada (2019,
    arXiv 1811.09607) applied persistent entropy to emotional speech.

    Parameters
    ----------
    sample_rate : int
        Sample rate in hertz; recordings are resampled to this rate.
    n_fft : int
        Length of the window, in samples.
    hop : int
        Distance between frames, in samples.
    n_mels : int
        Number of mel bands.
    top_db : float
        Height of the clip's maximum above the floor of the surface, in decibels.
    trim_db : float
        Trim frames at both ends that are more than this many decibels below the loudest frame;
        0 trims nothing.
    families : tuple of str
        Families of diagrams, in the order given: "surface", "levels", "contours".
    surface_bands : int
        Number of frequency ranges of the family "surface", from 1 to `n_mels`. The mel bands are
        divided into ranges of equal size; with a remainder, the lower ranges have one band more.
    level_bands : int
        Number of frequency ranges of the family "levels", from 1 to `n_mels`; divided like
        `surface_bands`.
    """

    name = "levelset"
    default = True
    axes = ("channel", "statistic")
    # numba is not listed, because its version does not affect the stored numbers: compiled code
    # compares values, and its float64 sums are rounded to float32.
    libraries = ("librosa", "numpy", "scipy", "soundfile", "soxr")
    default_branch = "mlp"
    default_branch_parameters = {"hidden": 256, "dropout": 0.5, "input_dropout": 0.2}  # noqa: RUF012

    def __init__(
        self,
        *,
        sample_rate: int = 16000,
        n_fft: int = 1024,
        hop: int = 256,
        n_mels: int = 128,
        top_db: float = 80.0,
        trim_db: float = 60.0,
        families: tuple[str, ...] = FAMILIES,
        surface_bands: int = 8,
        level_bands: int = 16,
    ) -> None:
        self.spectrum = {"sample_rate": sample_rate, "n_fft": n_fft, "hop": hop, "n_mels": n_mels}
        check_spectrum(self.name, self.spectrum)
        check_ranges(self.name, "top_db > 0 and trim_db >= 0", locals())
        for name, bands in (("surface_bands", surface_bands), ("level_bands", level_bands)):
            if not 1 <= bands <= n_mels:
                raise ParameterError(
                    f"levelset.{name}={bands} is out of range: accepted are 1 to n_mels={n_mels}."
                )
        if not families or set(families) - set(FAMILIES) or len(set(families)) < len(families):
            raise ParameterError(
                f"levelset.families must name one or more of {', '.join(FAMILIES)}, each once; "
                f"given: {', '.join(families) or 'none'}."
            )
        self.top_db = top_db
        self.trim_db = trim_db
        self.families = tuple(families)
        self.surface_bands = surface_bands
        self.level_bands = level_bands
        self.channels = tuple(name for family in self.families for name in self._names(family))
        self.shape = (len(self.channels), 26)

    def extract(self, recording: Recording) -> npt.NDArray[np.float32]:
        return self.statistics(list(self.diagrams(recording).values()))

    def diagrams(self, recording: Recording) -> dict[str, Single]:
        """Return the finite bars of every diagram, keyed by the names in `channels`.

        Returns
        -------
        dict of str to array
            (n, 2) float32 birth and death; birth > death in superlevel sets, birth < death in
            sublevel sets. Silence has no bars.
        """
        heights = self.heights(recording)
        if not heights.size:
            return {name: np.empty((0, 2), np.float32) for name in self.channels}
        families = {"surface": self._surface, "levels": self._levels, "contours": self._contours}
        bars = [diagram for name in self.families for diagram in families[name](heights)]
        return dict(zip(self.channels, bars, strict=True))

    def statistics(self, diagrams: Sequence[Single]) -> npt.NDArray[np.float32]:
        """Return the 26 statistics of each diagram, (diagrams, 26)."""
        from ._bar_statistics import bar_statistics

        return np.stack([bar_statistics(bars) for bars in diagrams])

    def panels(
        self, array: npt.NDArray[np.float32], recording: Recording | None = None
    ) -> list[Panel]:
        """Return panels of the surface, the diagrams, the contours and the statistics.

        Without a recording, for a recording that can't be read and for silence, only the panel of
        the statistics is returned.
        """
        panels: list[Panel] = []
        try:
            heights = self.heights(recording) if recording else None
        except RecordingError:
            heights = None
        if heights is not None and heights.size:
            draw = {
                "surface": self._surface_panels,
                "levels": self._level_panels,
                "contours": contour_panels,
            }
            panels = [panel for name in self.families for panel in draw[name](heights)]
        largest = np.abs(array).max(axis=0)
        shares = np.divide(array, largest, out=np.zeros_like(array), where=largest > 0)
        image = {"": shares.T}
        whole = "statistic, divided by its largest value"
        return [*panels, Panel("statistics of the diagrams", "image", image, "diagram", whole)]

    def heights(self, recording: Recording) -> Single:
        """Return the surface, (n_mels, t) float32 decibels above the floor; t is 0 for silence."""
        return mel_heights(recording, self.spectrum, top_db=self.top_db, trim_db=self.trim_db)

    def _surface_panels(self, heights: Single) -> list[Panel]:
        from ._cubical import image_peaks

        diagrams = self._surface(heights)
        parts = np.array_split(np.arange(len(heights)), self.surface_bands)
        peaks_of = [(*image_peaks(heights[rows]), rows[0]) for rows in parts]
        length = np.concatenate([bars[:, 0] - bars[:, 1] for bars, _, _ in peaks_of])
        places = np.concatenate([place[:, ::-1] + (0, first) for _, place, first in peaks_of])
        longest = np.argsort(-length, kind="stable")[:_RINGS]
        peaks, dips = (self._by_colour(diagrams[kind::2]) for kind in (0, 1))
        birth, death = "birth (dB)", "death (dB)"
        return [
            Panel(
                f"surface, with its {len(longest)} longest-lived peaks",
                "image",
                {"": heights},
                x="time",
                y="frequency",
                marks={"": places[longest]},
            ),
            Panel("peaks of the surface (H0)", "diagram", peaks, birth, death),
            Panel("enclosed dips of the surface (H1)", "diagram", dips, birth, death),
            Panel("longest bars of peaks", "bars", _longest(peaks), "height (dB)"),
        ]

    def _level_panels(self, heights: Single) -> list[Panel]:
        peaks = self._by_colour(self._levels(heights))
        return [
            Panel("peaks of the levels", "diagram", peaks, "birth (dB)", "death (dB)"),
            Panel("longest bars of the levels", "bars", _longest(peaks), "height (dB)"),
        ]

    def _by_colour(self, diagrams: Sequence[Single]) -> dict[str, Single]:
        """Merge the diagrams of neighbouring frequency ranges; return the bars by range."""
        ranges = self._ranges(len(diagrams))
        joined: dict[str, Single] = {}
        for part in np.array_split(np.arange(len(diagrams)), min(len(diagrams), _COLOURS)):
            low, high = ranges[part[0]].split("-")[0], ranges[part[-1]].split("-")[1]
            joined[f"{low}-{high.removesuffix('Hz')} Hz"] = np.concatenate(
                [diagrams[i] for i in part]
            )
        return joined

    def _surface(self, heights: Single) -> list[Single]:
        """Return the diagrams of the family "surface": H0 and H1 of each frequency range."""
        from ._cubical import image_bars

        parts = np.array_split(heights, self.surface_bands)
        return [bars for part in parts for bars in image_bars(part)]

    def _levels(self, heights: Single) -> list[Single]:
        """Return the diagrams of the family "levels": one diagram of each frequency range."""
        from ._cubical import series_bars

        parts = np.array_split(heights, self.level_bands)
        return series_bars(np.stack([part.mean(axis=0) for part in parts]))

    def _contours(self, heights: Single) -> list[Single]:
        """Return the diagrams of the family "contours": sublevel and superlevel of each contour."""
        from ._cubical import series_bars

        curves = contours(heights)
        both = np.stack([-curves, curves], axis=1).reshape(-1, curves.shape[1])
        bars = series_bars(both)
        bars[::2] = [-sublevel for sublevel in bars[::2]]
        return bars

    def _names(self, family: str) -> list[str]:
        """Return the names of a family's diagrams; explanations group the names by their words."""
        if family == "contours":
            sides = ("sublevel", "superlevel")
            return [f"contours {contour} {side}" for contour in CONTOURS for side in sides]
        parts = self.surface_bands if family == "surface" else self.level_bands
        kinds = ("H0", "H1") if family == "surface" else ("superlevel",)
        return [f"{family} {band} {kind}" for band in self._ranges(parts) for kind in kinds]

    def _ranges(self, parts: int) -> list[str]:
        """Return the names of the frequency ranges when the mel bands are split into `parts`."""
        n_mels, top = self.spectrum["n_mels"], self.spectrum["sample_rate"] / 2
        sizes = [len(part) for part in np.array_split(np.arange(n_mels), parts)]
        first = np.cumsum([0, *sizes])
        # The mel value of the centre of band i is (i + 1) / (n_mels + 1) of the highest mel value.
        inner = _hertz((first[1:-1] + 0.5) / (n_mels + 1) * _mel(top))
        edges = [f"{edge:.0f}" for edge in (0, *inner, top)]
        return [f"{low}-{high}Hz" for low, high in pairwise(edges)]


def contours(heights: Single) -> Single:
    """Return the five contours of a surface, (5, t) float32, in the order of `CONTOURS`.

    Parameters
    ----------
    heights : array
        (bands, t) decibels above the floor, at least 0, t >= 1.
    """
    bands = len(heights)
    high = heights.astype(np.float64)
    nats = high * (np.log(10) / 10)
    power = np.exp(nats)
    total = power.sum(axis=0)
    level = 10 * np.log10(total / bands)
    centroid = np.arange(bands) @ power / total
    tilt = high[: (bands + 1) // 2].mean(axis=0) - high[bands // 2 :].mean(axis=0)
    flux = np.zeros_like(level)
    flux[1:] = np.sqrt(np.square(np.diff(high, axis=1)).mean(axis=0))
    # The entropy of the shares p = power / total is the mean of -log p under p.
    entropy = np.log(total) - (power * nats).sum(axis=0) / total
    return np.stack([level, centroid, tilt, flux, entropy]).astype(np.float32)


def contour_panels(heights: Single) -> list[Panel]:
    """Return a panel of each contour, with its longest bars as lines at their frames of birth."""
    from ._cubical import series_peaks

    panels = []
    for name, unit, curve in zip(CONTOURS, UNITS, contours(heights), strict=True):
        marks = {}
        for side, sign in (("superlevel", np.float32(1)), ("sublevel", np.float32(-1))):
            ((bars, born),) = series_peaks(sign * curve[None])
            longest = np.argsort(bars[:, 1] - bars[:, 0], kind="stable")[:_LINES]
            marks[side] = np.column_stack([born[longest], sign * bars[longest]])
        panels.append(Panel(f"{name} ({unit})", "curve", {"": curve}, x="frame", marks=marks))
    return panels


def _longest(diagrams: Mapping[str, Single]) -> dict[str, Single]:
    """Return the longest bars of each diagram in ascending order of length."""
    longest = {}
    for name, bars in diagrams.items():
        order = np.argsort(np.abs(bars[:, 0] - bars[:, 1]), kind="stable")[-_LONGEST:]
        longest[name] = bars[order]
    return longest


# The mel scale of log_mel's filters (Slaney 1998): linear up to 1 kHz, logarithmic above.
_LINEAR, _KNEE, _LOGARITHMIC = 200 / 3, 1000.0, np.log(6.4) / 27


def _mel(hertz: float) -> float:
    if hertz < _KNEE:
        return hertz / _LINEAR
    return float(_KNEE / _LINEAR + np.log(hertz / _KNEE) / _LOGARITHMIC)


def _hertz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    knee = _KNEE / _LINEAR
    above = _KNEE * np.exp(_LOGARITHMIC * (np.maximum(mel, knee) - knee))
    return np.where(mel < knee, mel * _LINEAR, above)


@hookimpl
def fusion_extractors() -> list[type[Extractor]]:
    return [LevelSet]
