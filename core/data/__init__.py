"""From sources to batches: corpora, splits, extraction, arrays, missing modalities."""
