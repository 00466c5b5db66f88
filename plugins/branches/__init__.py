"""Networks that turn one modality into an embedding."""
