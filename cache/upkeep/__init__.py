"""Upkeep of a cache: verification, repair, packing and garbage collection."""
