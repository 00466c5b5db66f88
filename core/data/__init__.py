"""Data of a run: corpora, splits, extraction, feature arrays, batches, missing modalities."""
