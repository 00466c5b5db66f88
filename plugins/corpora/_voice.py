"""Source-filter voice: glottal pulses filtered by formants, with adjustable prosody.

The model follows Fant (1960), Acoustic Theory of Speech Production; the pulses follow
Rosenberg (1971).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

RATE = 16000
Floats = npt.NDArray[np.float64]

# First four formants of five vowels, in hertz, for a vocal tract of average length.
_VOWELS = np.array(
    [
        [730, 1090, 2440, 3400],
        [530, 1840, 2480, 3500],
        [270, 2290, 3010, 3700],
        [570, 840, 2410, 3300],
        [300, 870, 2240, 3300],
    ],
    dtype=np.float64,
)
_BANDWIDTHS = np.array([80.0, 100.0, 140.0, 200.0])


@dataclass(frozen=True, slots=True)
class Voice:
    """Properties of a speaker and a recording that do not depend on the emotion.

    Attributes
    ----------
    pitch : float
        Usual fundamental frequency, in hertz.
    tract : float
        Factor on all formants: above 1 for a short vocal tract.
    breath : float
        Aspiration noise relative to the pulses.
    tilt : float
        Coefficient of a low-pass filter on the source, in [0, 1); higher values sound darker.
    level : float
        Loudness of the recording; full scale is 1.
    room : float
        Noise of the recording relative to its level.
    colour : float
        Coefficient of the microphone's filter, in (-1, 1), from bright to dark.
    """

    pitch: float
    tract: float
    breath: float
    tilt: float
    level: float
    room: float
    colour: float


@dataclass(frozen=True, slots=True)
class Delivery:
    """Prosody of one clip.

    Attributes
    ----------
    seconds : float
        Duration of the clip.
    pitch, span : float
        Pitch is a factor on the speaker's pitch; span is the standard deviation of the pitch
        movement, in octaves.
    slope : float
        Rise (or fall) of pitch over the clip, in octaves.
    rate : float
        Syllables per second.
    energy : float
        Factor on the amplitude.
    tilt : float
        Offset that is added to the speaker's tilt.
    jitter, shimmer : float
        Relative irregularity of pitch and amplitude.
    breath : float
        Factor on the speaker's breath.
    pause : float
        Share of syllables that are silent.
    """

    seconds: float
    pitch: float
    span: float
    slope: float
    rate: float
    energy: float
    tilt: float
    jitter: float
    shimmer: float
    breath: float
    pause: float


def speak(voice: Voice, delivery: Delivery, rng: np.random.Generator) -> Floats:
    """Synthesise one clip, (n,) float64 in [-1, 1]."""
    from scipy.signal import lfilter  # a local import, because it takes half a second

    n = int(delivery.seconds * RATE)
    starts, envelope = _syllables(n, delivery, rng)
    source = _source(n, voice, delivery, envelope, rng)
    voiced = _through_formants(source, starts, voice.tract, rng)
    tilted = lfilter([1.0, voice.colour * 0.7], [1.0], voiced)
    tilted /= np.sqrt(np.mean(tilted**2)) + 1e-9
    recorded = tilted * delivery.energy + voice.room * rng.standard_normal(n)
    clip: Floats = np.tanh(voice.level * recorded)
    return clip


def _syllables(
    n: int, delivery: Delivery, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], Floats]:
    """Draw syllables; return the indices of their first samples, and the amplitude (n,)."""
    lengths = (
        RATE / delivery.rate * rng.uniform(0.7, 1.3, size=int(n / RATE * delivery.rate * 2) + 2)
    )
    ends = np.cumsum(lengths).astype(np.int64)
    starts = np.concatenate([[0], ends[ends < n]])
    envelope = np.zeros(n)
    for first, last in zip(starts, [*starts[1:], n], strict=True):
        loud = 0.0 if rng.random() < delivery.pause else rng.uniform(0.6, 1.0)
        envelope[first:last] = loud * np.hanning(last - first + 2)[1:-1] ** 0.5
    return starts, envelope


def _source(
    n: int, voice: Voice, delivery: Delivery, envelope: Floats, rng: np.random.Generator
) -> Floats:
    from scipy.signal import lfilter

    t = np.linspace(-0.5, 0.5, n)
    points = rng.standard_normal(8) * delivery.span
    melody = np.interp(t, np.linspace(-0.5, 0.5, len(points)), points) + delivery.slope * t
    pitch = voice.pitch * delivery.pitch * 2.0**melody
    steps = np.repeat(rng.standard_normal(n // 80 + 1), 80)[:n]  # jitter, drawn every 5 ms
    phase = np.cumsum(pitch * (1 + delivery.jitter * steps) / RATE)
    cycle = phase.astype(np.int64)
    loudness = 1 + delivery.shimmer * rng.standard_normal(cycle[-1] + 1)
    pulses = _pulse(phase - cycle) * loudness[cycle]
    tilt = min(voice.tilt + delivery.tilt, 0.97)
    pulses = lfilter([1 - tilt], [1, -tilt], pulses)
    noise = rng.standard_normal(n) * voice.breath * delivery.breath
    source: Floats = (pulses / (pulses.std() + 1e-9) + noise) * envelope
    return source


def _pulse(phase: Floats) -> Floats:
    """Return the derivative of the glottal flow at a phase in [0, 1).

    The glottis opens, closes fast and then stays closed.
    """
    opening, closing = 0.4, 0.16
    rising = np.sin(np.pi * phase / opening)
    falling = -np.sin(np.pi / 2 * (phase - opening) / closing) * opening / closing
    return np.where(phase < opening, rising, np.where(phase < opening + closing, falling, 0.0))


def _through_formants(
    source: Floats, starts: npt.NDArray[np.int64], tract: float, rng: np.random.Generator
) -> Floats:
    """Filter each syllable by the formants of one vowel; the filters' state is carried over."""
    from scipy.signal import sosfilt

    out = np.empty_like(source)
    state = np.zeros((_VOWELS.shape[1], 2))
    for first, last in zip(starts, [*starts[1:], len(source)], strict=True):
        formants = _VOWELS[rng.integers(len(_VOWELS))] * tract * rng.uniform(0.95, 1.05, size=4)
        formants = np.minimum(formants, 0.47 * RATE)
        out[first:last], state = sosfilt(_resonators(formants), source[first:last], zi=state)
    return out


def _resonators(formants: Floats) -> Floats:
    """Return second-order sections (4, 6): a resonance at each formant, with gain 1 at 0 Hz."""
    radius = np.exp(-np.pi * _BANDWIDTHS / RATE)
    a1 = -2 * radius * np.cos(2 * np.pi * formants / RATE)
    a2 = radius**2
    zero = np.zeros(4)
    return np.stack([1 + a1 + a2, zero, zero, zero + 1, a1, a2], axis=1)
