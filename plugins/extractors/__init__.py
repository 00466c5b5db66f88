"""Extractors: modalities, each computed from a recording as one array."""
