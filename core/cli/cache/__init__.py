"""``fusion cache`` and its commands."""
