"""Command group ``fusion cache``."""
