"""Small speech models of the four families with random weights, as folders on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

WIDTH, LAYERS, RATE = 16, 3, 16000
FRAMES_A_SECOND = 50

_ENCODER = {
    "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": 2,
    "intermediate_size": 24, "conv_dim": (8,) * 7, "num_feat_extract_layers": 7,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip
_LAYER_NORM = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
_WHISPER = {
    "d_model": WIDTH, "encoder_layers": LAYERS, "decoder_layers": 1, "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
    "num_mel_bins": 20, "max_source_positions": 100, "vocab_size": 50, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1,
}  # fmt: skip

# The three families that read samples normalise convolutions over time (group) or not (layer).
MODELS: dict[str, dict[str, Any]] = {
    "wav2vec2-group": _ENCODER,
    "wav2vec2-layer": {**_ENCODER, **_LAYER_NORM},
    "hubert-group": _ENCODER,
    "hubert-layer": {**_ENCODER, **_LAYER_NORM},
    "wavlm-group": {**_ENCODER, "num_buckets": 20, "max_bucket_distance": 40},
    "whisper": _WHISPER,
}

_CLASSES = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert", "wavlm": "WavLM", "whisper": "Whisper"}


def save_model(folder: Path, name: str, *, seed: int = 0, **changes: Any) -> Path:
    """Save a model of :data:`MODELS` with random weights, and its feature extractor."""
    prefix = _CLASSES[name.partition("-")[0]]
    config = getattr(transformers, f"{prefix}Config")(**{**MODELS[name], **changes})
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = getattr(transformers, f"{prefix}Model")(config)
        with torch.no_grad():  # after initialisation, deep states are too similar
            for parameter in network.parameters():
                if parameter.dim() > 1:
                    parameter.mul_(2.0)
    network.save_pretrained(folder)
    if prefix == "Whisper":  # 2 s instead of 30
        prepare = transformers.WhisperFeatureExtractor(feature_size=20, chunk_length=2)
    else:
        prepare = transformers.Wav2Vec2FeatureExtractor(
            do_normalize=True, return_attention_mask=name.endswith("layer")
        )
    prepare.save_pretrained(folder)
    return folder
