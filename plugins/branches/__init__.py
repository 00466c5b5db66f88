"""Branches: networks that turn one modality into an embedding."""
