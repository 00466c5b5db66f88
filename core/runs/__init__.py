"""Runs: configuration, run directory, trainings, results and chosen model."""
