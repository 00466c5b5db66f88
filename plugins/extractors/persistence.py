"""Persistence images of a recording's time frames: topology as a second view."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from ...core.contracts.data import Extractor, Recording, default_panels
from ...core.contracts.errors import ParameterError, RecordingError
from ...core.contracts.hooks import hookimpl
from ...core.contracts.panels import Panel
from ...core.toolkit.audio import check_spectrum, mel_heights
from ...core.toolkit.ranges import check_ranges

Floats = npt.NDArray[np.float64]
Reduction = Literal["lunes", "gudhi", "ripser"]
Imager = Literal["product", "persim"]
Range = tuple[float, float]

CHANNELS = ("Euclidean H0", "Euclidean H1", "temporal H0", "temporal H1", "Wasserstein H0",
            "Wasserstein H1")  # fmt: skip

# Birth and persistence range of each channel's image. The ranges are fixed, so that images are
# comparable across clips. Each range contains 97 to 99 % of the bars, weighted by persistence, in
# the speech of twelve speakers at the default parameters (determined without labels). Bars outside
# the ranges are lost. Other parameters change the scale of the distances: Euclidean distances grow
# with the square root of n_mels, Wasserstein distances with n_mels. All H0 bars are born at 0. The
# birth range of H0 is therefore centred at 0, so that it contains each Gaussian completely. In
# effect the channels of H0 are one-dimensional.
RANGES: dict[str, tuple[tuple[Range, Range], ...]] = {
    "mel": (
        ((-50.0, 50.0), (0.0, 100.0)),  # Euclidean H0, dB
        ((0.0, 150.0), (0.0, 70.0)),  # H1
        ((-1.75, 1.75), (0.0, 3.5)),  # temporal H0, standard deviations
        ((0.0, 5.0), (0.0, 2.0)),  # H1
        ((-11.0, 11.0), (0.0, 22.0)),  # Wasserstein H0, mel bands
        ((0.0, 17.0), (0.0, 3.5)),  # H1
    ),
    "mfcc": (
        ((-45.0, 45.0), (0.0, 90.0)),
        ((0.0, 125.0), (0.0, 55.0)),
        ((-1.1, 1.1), (0.0, 2.2)),
        ((0.0, 3.0), (0.0, 1.4)),
        ((-0.135, 0.135), (0.0, 0.27)),
        ((0.0, 0.4), (0.0, 0.12)),
    ),
}


class Persistence(Extractor):
    """Persistence images of a recording's frames, (6, resolution, resolution) float32.

    The points are the time frames of the log-mel spectrogram, in decibels above a floor that is
    `top_db` below the clip's maximum. For each of three metrics between the points, the
    Vietoris-Rips persistence diagrams of H0 and H1 become persistence images (Adams et al. 2017):

    ===== =========================================================================
    0, 1  Euclidean distance of the frames
    2, 3  half the distance in time (the clip lasts 1) plus half the Euclidean
          distance of the frames standardised per band over the clip
    4, 5  Wasserstein-1 between frames as distributions over bands (decibels above
          the floor, summing to 1)
    ===== =========================================================================

    Even channels are H0, odd channels are H1. An image represents each finite bar by a Gaussian,
    weighted by the bar's persistence and integrated over pixels. The axes are birth and
    persistence, as in ``persim.PersistenceImager``. Silence and clips of one frame are all 0.

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
        Clip the bands at this many decibels below the recording's maximum.
    trim_db : float
        Trim frames at both ends that are more than this many decibels below the loudest frame;
        0 trims nothing.
    points : {"mel", "mfcc"}
        Coordinates of a frame: its mel bands, or its first `n_mfcc` cepstral coefficients minus
        the clip's smallest coefficient.
    n_mfcc : int
        Number of coefficients, at most `n_mels`.
    max_points : int
        Longer clips are represented by this many evenly spaced frames, because the cost grows
        faster than the square of the number of frames.
    resolution : int
        Width and height of an image, in pixels.
    sigma : float
        Standard deviation of the Gaussians, in pixels.
    reduction : {"lunes", "gudhi", "ripser"}
        Algorithm of the diagrams: "lunes" is the reduced Vietoris-Rips filtration (Koyama et al.
        2023), which examines the lunes of edges; "gudhi" and "ripser" are libraries. The results
        agree up to float32 rounding; "lunes" is about 6x faster than gudhi and 20x faster than
        ripser.
    imager : {"product", "persim"}
        Algorithm of the images: "product" computes all bars at once as the product of two matrices;
        "persim" calls ``persim.PersistenceImager``, which adds bars one at a time. The results
        agree up to float32 rounding; "product" is about 60x faster (docs/results/performance.md).
    """

    name = "persistence"
    axes = ("channel", "birth", "persistence")
    default_branch = "mlp"
    default_branch_parameters = {  # noqa: RUF012
        "shrink": 4, "normalise": True, "hidden": 256, "dropout": 0.5, "input_dropout": 0.5
    }  # fmt: skip
    added_parameters: ClassVar[Mapping[str, Any]] = {"imager": "product"}

    def __init__(
        self,
        *,
        sample_rate: int = 16000,
        n_fft: int = 1024,
        hop: int = 256,
        n_mels: int = 128,
        top_db: float = 80.0,
        trim_db: float = 0.0,
        points: Literal["mel", "mfcc"] = "mel",
        n_mfcc: int = 20,
        max_points: int = 400,
        resolution: int = 32,
        sigma: float = 1.0,
        reduction: Reduction = "lunes",
        imager: Imager = "product",
    ) -> None:
        self.spectrum = {"sample_rate": sample_rate, "n_fft": n_fft, "hop": hop, "n_mels": n_mels}
        check_spectrum(self.name, self.spectrum)
        if points == "mfcc" and not 1 <= n_mfcc <= n_mels:
            raise ParameterError(
                f"persistence.n_mfcc={n_mfcc} is out of range: accepted are 1 to n_mels={n_mels}."
            )
        check_ranges(
            self.name,
            "top_db > 0, trim_db >= 0, max_points >= 2, resolution >= 1 and sigma > 0",
            locals(),
        )
        self.top_db = top_db
        self.trim_db = trim_db
        self.points = points
        self.n_mfcc = n_mfcc
        self.max_points = max_points
        self.sigma = sigma
        self.reduction = reduction
        self.imager = imager
        # "lunes" only compares distances, and "product" uses numpy and scipy. Neither algorithm
        # depends on a further library.
        own = [library for library in (reduction, imager) if library not in ("lunes", "product")]
        self.libraries = ("librosa", "numpy", *own, "scipy", "soundfile", "soxr")
        self.shape = (6, resolution, resolution)
        self.channels = CHANNELS

    def extract(self, recording: Recording) -> npt.NDArray[np.float32]:
        return self.images(self.diagrams(recording))

    def diagrams(self, recording: Recording) -> list[Floats]:
        """Return the finite bars of the six channels, each (n, 2) float64 birth and death."""
        frames = self.frames(recording)
        if len(frames) < 2:
            return [np.empty((0, 2))] * 6
        reduce = REDUCTIONS[self.reduction]
        return [bars for d in distance_matrices(frames) for bars in reduce(d)]

    def images(self, diagrams: Sequence[Floats]) -> npt.NDArray[np.float32]:
        """Return one image per diagram, (6, resolution, resolution); axes birth, persistence."""
        images = np.empty(self.shape, np.float32)
        draw = IMAGERS[self.imager]
        for channel, (bars, ranges) in enumerate(zip(diagrams, RANGES[self.points], strict=True)):
            image = draw(bars, *ranges, self.shape[1], self.sigma)
            # Values below 1e-7 of the maximum become 0: standardising such pixels over clips would
            # divide by a variance of nearly 0.
            images[channel] = np.where(image > 1e-7 * image.max(), image, 0)
        return images

    def panels(
        self, array: npt.NDArray[np.float32], recording: Recording | None = None
    ) -> list[Panel]:
        """Return the images with birth on the horizontal axis, and the diagrams of each metric.

        The diagrams are left out if the recording can't be read.
        """
        _, birth, persistence = self.axes
        images = [
            replace(panel, data={"": panel.data[""].T}, x=birth, y=persistence)
            for panel in default_panels(self, array)
        ]
        try:
            diagrams = self.diagrams(recording) if recording else []
        except RecordingError:
            diagrams = []
        panels = []
        for i, name in enumerate(CHANNELS[::2]):
            panels += images[2 * i : 2 * i + 2]
            if diagrams:
                bars = dict(zip(("H0", "H1"), diagrams[2 * i : 2 * i + 2], strict=True))
                title = f"{name.removesuffix(' H0')} diagram"
                panels.append(Panel(title, "diagram", bars, birth, "death"))
        return panels

    def frames(self, recording: Recording) -> Floats:
        """Return the points, (t, bands) float64 >= 0, where 0 is the floor; t is 0 for silence."""
        heights = mel_heights(recording, self.spectrum, top_db=self.top_db, trim_db=self.trim_db)
        frames: Floats = heights.T.astype(np.float64, order="C")
        if len(frames) > self.max_points:
            frames = frames[np.linspace(0, len(frames) - 1, self.max_points).round().astype(int)]
        if self.points == "mfcc" and len(frames):
            import scipy.fft

            frames = scipy.fft.dct(frames, axis=1, norm="ortho")[:, : self.n_mfcc]
            frames -= frames.min()  # shifts all points equally: no distance changes
        return frames


def distance_matrices(frames: Floats) -> list[Floats]:
    """Return the distances between frames in three metrics: Euclidean, temporal, Wasserstein.

    Parameters
    ----------
    frames : array
        (t, bands), at least 0, t >= 2.

    Returns
    -------
    list of array
        Three (t, t) float64.
    """
    from ._compiled import cityblock

    deviation = frames.std(axis=0)
    # A constant band does not distinguish frames and becomes 0.
    standard = (frames - frames.mean(axis=0)) / np.where(deviation > 1e-9, deviation, np.inf)
    temporal = _euclidean(standard / 2)
    time = np.linspace(0, 0.5, len(frames))
    apart = np.subtract.outer(time, time)
    temporal += np.abs(apart, out=apart)
    total = frames.sum(axis=1, keepdims=True)
    # A frame at the floor has no distribution over bands. The uniform distribution is used instead.
    share = np.divide(frames, total, out=np.full_like(frames, 1 / frames.shape[1]), where=total > 0)
    # In one dimension Wasserstein-1 is the L1 distance of the cumulative sums.
    return [_euclidean(frames), temporal, cityblock(share.cumsum(axis=1))]


def _euclidean(x: Floats) -> Floats:
    """Return the (t, t) distances by one matrix product; equal points have exactly distance 0."""
    x = x - x.mean(axis=0)
    size = np.einsum("ij,ij->i", x, x)
    products = x @ x.T
    products *= 2  # in place: a new array costs more than the arithmetic
    squares: Floats = np.add.outer(size, size)
    squares -= products
    squares[squares < 1e-13 * size.max(initial=0.0)] = 0  # rounding
    np.fill_diagonal(squares, 0)
    return np.sqrt(squares, out=squares)


def lune_diagrams(distances: Floats) -> list[Floats]:
    """Compute the finite Vietoris-Rips bars in H0 and H1, (n, 2), from the lunes of edges.

    Bars of length 0 are omitted, because such bars are not features. No bar exceeds the enclosing
    radius: beyond this radius the complex is a cone, in which every H1 bar has ended.
    """
    from ._rips import diagrams

    return diagrams(distances)


def gudhi_diagrams(distances: Floats) -> list[Floats]:
    """Compute the bars of :func:`lune_diagrams` with gudhi's version of Ripser (Bauer 2021)."""
    from gudhi.sklearn import RipsPersistence

    if len(distances) < 4:  # gudhi returns no array for H1 of so few points
        return [_minimum_spanning_bars(distances), np.empty((0, 2))]
    rips = RipsPersistence(
        homology_dimensions=[0, 1], input_type="full distance matrix", homology_coeff_field=2
    )
    return [_finite_bars(diagram) for diagram in rips.fit_transform([distances])[0]]


def ripser_diagrams(distances: Floats) -> list[Floats]:
    """Compute the bars of :func:`lune_diagrams` with the library Ripser."""
    from ripser import ripser

    radius = float(distances.max(axis=1).min())
    diagrams = ripser(distances, distance_matrix=True, maxdim=1, thresh=radius)["dgms"]
    return [_finite_bars(diagram) for diagram in diagrams]


REDUCTIONS: dict[Reduction, Callable[[Floats], list[Floats]]] = {
    "lunes": lune_diagrams,
    "gudhi": gudhi_diagrams,
    "ripser": ripser_diagrams,
}


def _minimum_spanning_bars(distances: Floats) -> Floats:
    """Return the H0 bars, (t - 1, 2), of t = 2 or 3 points: the lengths are the shortest edges."""
    edges = np.sort(distances[np.triu_indices(len(distances), 1)])[: len(distances) - 1]
    return _finite_bars(np.stack([np.zeros_like(edges), edges], axis=1))


def _finite_bars(diagram: Floats) -> Floats:
    """Return the bars of finite, positive length, (n, 2) float64."""
    diagram = np.asarray(diagram, np.float64).reshape(-1, 2)
    return diagram[np.isfinite(diagram[:, 1]) & (diagram[:, 1] > diagram[:, 0])]


def persistence_image(
    bars: Floats, births: Range, persistences: Range, resolution: int, sigma: float
) -> Floats:
    """Return the image of one diagram, (resolution, resolution), with axes birth and persistence.

    The Gaussian around a bar is the product of a Gaussian in birth and a Gaussian in persistence.
    The sum over all bars is therefore a product of two small matrices.

    Parameters
    ----------
    bars : array
        (n, 2) birth and death, finite.
    births, persistences : (low, high)
        Ranges that the image covers.
    resolution : int
        Width and height of the image, in pixels.
    sigma : float
        Standard deviation of the Gaussians, in pixels of either axis.
    """
    if not len(bars):
        return np.zeros((resolution, resolution))
    length = bars[:, 1] - bars[:, 0]
    born = bars[:, 0] if np.ptp(bars[:, 0]) else bars[:1, 0]  # H0: all 0
    across = _pixel_shares(born, births, resolution, sigma)  # (n or 1, resolution)
    along = _pixel_shares(length, persistences, resolution, sigma)
    weighted = length[:, None] * along
    return across.T @ (weighted if len(across) == len(bars) else weighted.sum(axis=0)[None])


def persim_image(
    bars: Floats, births: Range, persistences: Range, resolution: int, sigma: float
) -> Floats:
    """Return the image of :func:`persistence_image`, computed by persim bar by bar.

    persim's pixels are square, so birth and length are passed in units of pixels of their axes.
    """
    from persim import PersistenceImager

    if not len(bars):
        return np.zeros((resolution, resolution))
    wide, high = ((span[1] - span[0]) / resolution for span in (births, persistences))
    born = (bars[:, 0] - births[0]) / wide
    length = (bars[:, 1] - bars[:, 0] - persistences[0]) / high
    imager = PersistenceImager(
        birth_range=(0, resolution),
        pers_range=(0, resolution),
        pixel_size=1,
        weight=lambda _, pixels: persistences[0] + pixels * high,  # the length itself
        weight_params={},
        kernel="gaussian",
        kernel_params={"sigma": sigma**2 * np.eye(2)},  # the covariance
    )
    image: Floats = imager.transform(np.stack([born, length], axis=1), skew=False)
    return image


IMAGERS: dict[Imager, Callable[[Floats, Range, Range, int, float], Floats]] = {
    "product": persistence_image,
    "persim": persim_image,
}


def _pixel_shares(values: Floats, span: Range, resolution: int, sigma: float) -> Floats:
    """Return the share of the Gaussian around each value in each pixel, (n, resolution)."""
    from scipy.special import ndtr

    low, high = span
    position = (values - low) / (high - low) * resolution  # in pixels
    edges = np.arange(resolution + 1)
    return np.diff(ndtr((edges - position[:, None]) / sigma), axis=1)


@hookimpl
def fusion_extractors() -> list[type[Extractor]]:
    return [Persistence]
