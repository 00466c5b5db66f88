"""Trackers: destinations for the events of a run."""
