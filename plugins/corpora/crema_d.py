"""CREMA-D: acted speech, 91 actors, six emotions."""

from __future__ import annotations

from ...core.contracts.data import Corpus
from ...core.contracts.hooks import hookimpl
from ...core.toolkit.emotions import SHARED
from ...core.toolkit.filenames import FilenameCorpus


class CremaD(FilenameCorpus):
    """Crowd-sourced Emotional Multimodal Actors Dataset.

    Files are named actor_sentence_emotion_intensity, for instance ``AudioWAV/1001_DFA_ANG_XX.wav``;
    intensity is LO, MD, HI or XX (unspecified). The label is the emotion that was acted, not the
    emotion that raters perceived. Attributes ``sentence`` and ``intensity`` are the codes of the
    file names.

    Parameters
    ----------
    path : Path
        Folder of the recordings.

    References
    ----------
    H. Cao et al., IEEE Transactions on Affective Computing 5(4), 2014.
    https://github.com/CheyneyComputerScience/CREMA-D
    """

    name = "crema_d"
    labels = {emotion: emotion for emotion in SHARED}  # noqa: RUF012
    emotions = {  # noqa: RUF012
        "ang": "angry", "dis": "disgust", "fea": "fearful", "hap": "happy", "neu": "neutral",
        "sad": "sad",
    }  # fmt: skip
    # One published file, 1040_ITH_SAD_X, has an intensity of one letter.
    pattern = (
        r"(?P<speaker>1\d{3})_(?P<sentence>[A-Z]{3})_(?P<emotion>ANG|DIS|FEA|HAP|NEU|SAD)"
        r"_(?P<intensity>LO|MD|HI|XX?)"
    )


@hookimpl
def fusion_corpora() -> list[type[Corpus]]:
    return [CremaD]
