"""Hidden states of speech foundation models: wav2vec 2.0, HuBERT, WavLM, Whisper's encoder."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from ...core.contracts.data import Extractor, Panel, Recording, default_panels
from ...core.contracts.errors import ParameterError, PluginError, RecordingError
from ...core.contracts.hooks import hookimpl
from ...core.toolkit.audio import fit_frames, load_waveform
from ...core.toolkit.optional import required
from ...core.toolkit.ranges import check_ranges
from ._speech_models import ModelFolder, find_model

if TYPE_CHECKING:
    from torch import Tensor

    from ._speech_states import SpeechModel

Array = npt.NDArray[np.float32]


class SSL(Extractor):
    """Hidden states of a speech foundation model, (D,), (2 D,) or (D, 1, frames) float32.

    The model is frozen and reads the whole recording at its own sampling rate (16 kHz), with its
    own normalisation; recordings of more than 30 s in equal pieces. A state stands for 20 ms. What
    it becomes, `pooling` says: the mean over the recording; mean and standard deviation; or the
    states themselves, of which shorter clips have theirs in the middle of zeros, longer ones the
    middle (of Whisper's 30 s only those that the recording fills).

    Recordings are read in batches, which give the numbers of one at a time but for rounding.
    On a GPU one process reads for all.

    Parameters
    ----------
    model : str
        A folder that holds ``config.json``, weights and ``preprocessor_config.json``, or a name
        on the Hugging Face hub, which is downloaded the first time. Of the types wav2vec2,
        hubert, wavlm and whisper.
    layer : int, "last" or "mean"
        Whose states: 0 is the input of the first transformer layer, 1 to L the layers' output,
        negative numbers count from the end; the mean of all L + 1.
    pooling : {"mean", "mean_std", "frames"}
        The mean over time, mean and standard deviation, or `frames` states in their order.
    frames : int
        How many states "frames" holds; 50 are a second.
    batch : int
        Recordings at a time. On a GPU more are faster, and take more of its memory; on a CPU they
        only take more memory.
    device : {"auto", "cpu", "cuda"}
        Where the model computes; auto takes CUDA where there is one, and so does a prediction
        later, on another machine.
    precision : {"float32", "bfloat16", "float16"}
        Of the arithmetic; half precision on CUDA only. What is stored is float32, or what
        ``--dtype`` says.

    References
    ----------
    wav2vec 2.0: Baevski et al. (2020), NeurIPS. HuBERT: Hsu et al. (2021), TASLP. WavLM: Chen et
    al. (2022), JSTSP. Whisper: Radford et al. (2023), ICML. Why the mean of all layers, and not
    the last: Pepino, Riera and Ferrer (2021), "Emotion Recognition from Speech Using wav2vec 2.0
    Embeddings", Interspeech, where the layers between tell most of emotion.
    """

    name = "ssl"
    libraries = ("numpy", "soundfile", "soxr", "torch", "transformers")
    default_branch = "mlp"

    def __init__(
        self,
        *,
        model: str = "facebook/wav2vec2-base",
        layer: int | Literal["last", "mean"] = "mean",
        pooling: Literal["mean", "mean_std", "frames"] = "mean",
        frames: int = 256,
        batch: int = 8,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        precision: Literal["float32", "bfloat16", "float16"] = "float32",
    ) -> None:
        check_ranges(self.name, "frames >= 1 and batch >= 1", locals())
        _check_installed()
        self.folder = find_model(model, owner="ssl.model")
        self.layer = _layer(layer, self.folder)
        self.pooling = pooling
        self.batch = batch
        self.precision = precision
        self._wanted = device
        if device == "cuda" or precision != "float32":
            self._check_device()
        width = self.folder.width
        if pooling == "frames":
            # One channel for each value of a state: they have no order along which to convolve.
            self.shape = (width, 1, frames)
            self.axes = ("coefficient", "row", "time")
            self.default_branch = "crnn"
        else:
            self.shape = (width if pooling == "mean" else 2 * width,)
        self.parameters = {"model": self.folder.name}  # a relative path leads elsewhere tomorrow

    def identity(self) -> Mapping[str, Any]:
        return {
            "model": self._digest,
            "layer": self.layer,
            "pooling": self.pooling,
            "precision": self.precision,
        }

    @cached_property
    def _digest(self) -> str:
        return self.folder.digest

    @property
    def processes(self) -> int | None:
        """One where there is a GPU: several would load the model several times, and share it."""
        return None if self.device == "cpu" else 1

    @cached_property
    def device(self) -> str:
        """``"cuda"`` or ``"cpu"``."""
        if self._wanted != "auto":
            return self._wanted
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"

    def extract_many(self, recordings: Sequence[Recording]) -> list[Array | RecordingError]:
        model = _loaded(self.folder, self._digest, self.device, self.precision)
        found: dict[int, RecordingError] = {}
        waveforms: dict[int, Array] = {}
        for index, recording in enumerate(recordings):
            try:
                waveforms[index] = load_waveform(recording, model.sample_rate)
            except RecordingError as error:
                found[index] = error
        states = model.states(list(waveforms.values()), self.layer)  # each (t, D)
        arrays = dict(zip(waveforms, map(self._pooled, states), strict=True))
        return [found[i] if i in found else arrays[i] for i in range(len(recordings))]

    def _pooled(self, states: Tensor) -> Array:
        """(t, D) -> one array."""
        if self.pooling == "frames":
            fitted = fit_frames(states.T.cpu().numpy(), self.shape[2], fill=0.0)  # (D, frames)
            return fitted[:, None]
        pooled = states.mean(dim=0)  # (D,)
        if self.pooling == "mean_std":
            import torch

            # Over all states there are, so that a single one has the deviation 0.
            pooled = torch.cat([pooled, states.std(dim=0, correction=0)])  # (2 D,)
        array: Array = pooled.cpu().numpy()
        return array

    def panels(self, array: npt.NDArray[Any], recording: Recording | None = None) -> list[Panel]:
        if self.pooling != "frames":
            return default_panels(self, array)
        return [Panel("", "image", {"": array[:, 0]}, x="time", y="coefficient")]

    def _check_device(self) -> None:
        import torch

        if not torch.cuda.is_available() and self._wanted == "cuda":
            raise ParameterError(
                "ssl.device=cuda, and torch finds no CUDA device here.",
                hint="ssl.device=auto takes one where there is one, and the CPU elsewhere.",
            )
        if self.device == "cpu":
            raise ParameterError(
                f"ssl.precision={self.precision} is for CUDA, and this model computes on the CPU.",
                hint="On a CPU leave out ssl.precision: it is slower in half precision.",
            )


def _layer(layer: int | str, folder: ModelFolder) -> int | Literal["mean"]:
    """A layer counted from 0, or "mean"."""
    if layer == "mean":
        return "mean"
    index = folder.layers if layer == "last" else int(layer)
    if not -folder.layers - 1 <= index <= folder.layers:
        raise ParameterError(
            f"ssl.layer is {layer}, and {folder.path} has {folder.layers} layers.",
            hint=f"0 (their input) to {folder.layers}, -1 to {-folder.layers - 1} from the end, "
            "last or mean.",
        )
    return index % (folder.layers + 1)


def _check_installed() -> None:
    # Looked for and not imported: that takes a second, and most commands load no model.
    if importlib.util.find_spec("transformers") is None:
        required("transformers", extra="transformers", by="The extractor 'ssl'")


# One model per process: every chunk of work makes an extractor of its own. A failure stays too,
# or each of a corpus's recordings would load the model anew, to fail again.
_last: dict[tuple[str, ...], SpeechModel | PluginError] = {}


def _loaded(folder: ModelFolder, digest: str, device: str, precision: str) -> SpeechModel:
    key = (str(folder.path), digest, device, precision)
    if key not in _last:
        import torch

        from ._speech_states import SpeechModel

        _last.clear()
        try:
            _last[key] = SpeechModel(folder, torch.device(device), getattr(torch, precision))
        except PluginError as error:
            _last[key] = error
    found = _last[key]
    if isinstance(found, PluginError):
        raise found
    return found


@hookimpl
def fusion_extractors() -> list[type[Extractor]]:
    return [SSL]
