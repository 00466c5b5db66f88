"""Runs: configuration, run directory, trainings, results and final model."""
