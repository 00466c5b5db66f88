"""Command group ``fusion plugins``."""
