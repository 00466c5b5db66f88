"""Evaluation of a run's trainings: predictions, selection, results."""
