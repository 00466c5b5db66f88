"""Faults on purpose: a plugin class in, the same with something wrong out."""
