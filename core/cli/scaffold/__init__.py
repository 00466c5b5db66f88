"""``fusion plugins new``: a package around one plugin that works as made."""
