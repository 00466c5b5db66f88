"""A run: its request, its directory, its trainings, and the model that it hands out."""
