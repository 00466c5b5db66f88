"""Compute what is missing, on all cores or machines, and keep a journal of it."""
