"""What the trainings of a run came to: predictions, selection, results."""
