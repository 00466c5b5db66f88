"""``fusion plugins`` and its commands."""
