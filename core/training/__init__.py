"""Training of one model: the training loop, its parts and its diagnostics."""
