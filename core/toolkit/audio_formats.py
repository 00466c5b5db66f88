"""Audio formats that fusion reads: suffix, name, and the library that decodes them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import PurePath
from typing import Literal

Library = Literal["libsndfile", "PyAV"]
EXTRA = "av"  # the extra of modal-fusion that installs PyAV


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """A kind of file by its suffix.

    Attributes
    ----------
    suffix : str
        Suffix of the files, in lower case, with the dot.
    name : str
        Name of the format.
    library : {"libsndfile", "PyAV"}
        Library that usually decodes such files. The content of a file decides, not its suffix: an
        MP3 file called ``a.wav`` is read as MP3.
    """

    suffix: str
    name: str
    library: Library


def _formats(library: Library, names: str) -> list[AudioFormat]:
    """Parse lines of suffixes and a name: ``.aif .aiff  AIFF``."""
    formats = []
    for line in names.strip().splitlines():
        suffixes, name = line.strip().split("  ", 1)
        formats += [AudioFormat(suffix, name.strip(), library) for suffix in suffixes.split()]
    return formats


# In order of preference for corpora that have the same recordings in several formats: first
# uncompressed and lossless formats, then lossy formats, then containers that may hold any codec.
# Left out are suffixes of headerless samples (.raw, .pcm, .vox, .gsm) and suffixes that usually
# mean something else (.mat: arrays, .htk: features, .mpc, .ts, .sf).
FORMATS: tuple[AudioFormat, ...] = (
    *_formats(
        "libsndfile",
        """
        .wav  WAV: PCM, float, A-law, mu-law, ADPCM, GSM 6.10, MP3
        .flac  FLAC
        .aiff .aif .aifc  AIFF and AIFF-C
        .w64  Sony Wave64
        .rf64  RF64, WAV above 4 GB
        .bwf  Broadcast WAV
        .caf  Apple Core Audio
        .au .snd  Sun and NeXT
        .sph .nist  NIST SPHERE
        .voc  Creative Voice
        .ircam  IRCAM
        .pvf  Portable Voice
        .paf  Ensoniq PARIS
        .8svx .svx  Amiga IFF
        .avr  Audio Visual Research
        .ogg .oga  Ogg: Vorbis, Opus
        .opus  Opus in Ogg
        .mp3  MP3
        .mp2 .mp1  MPEG layers I and II
        """,
    ),
    *_formats(
        "PyAV",
        """
        .wv  WavPack
        .tta  True Audio
        .ape  Monkey's Audio
        .m4a .m4b  MPEG-4 audio: AAC, ALAC
        .aac  AAC stream (ADTS)
        .wma .asf  Windows Media Audio
        .mka .weba  Matroska and WebM audio
        .spx  Speex in Ogg
        .amr .awb  AMR, narrow and wide band
        .ac3  Dolby Digital
        .dss  Digital Speech Standard
        .mp4 .m4v  MPEG-4 video
        .mov  QuickTime video
        .mkv .webm  Matroska and WebM video
        .3gp .3g2  video of mobile telephones
        .avi .wmv .flv .mpg .mpeg  other video
        """,
    ),
)

AUDIO: tuple[str, ...] = tuple(audio_format.suffix for audio_format in FORMATS)

_BY_SUFFIX = {audio_format.suffix: audio_format for audio_format in FORMATS}


def format_of(path: PurePath) -> AudioFormat | None:
    """Return the format that a file's suffix names; None if the suffix names no audio format."""
    return _BY_SUFFIX.get(path.suffix.lower())


def pyav_version() -> str | None:
    """Return the version of PyAV; None if it is not installed."""
    try:
        return version("av")
    except PackageNotFoundError:
        return None
