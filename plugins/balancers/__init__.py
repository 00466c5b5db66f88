"""What changes how the branches are trained together."""
