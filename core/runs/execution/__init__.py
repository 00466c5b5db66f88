"""Execution of a run's trainings: worker processes, scheduling and tuning trials."""
