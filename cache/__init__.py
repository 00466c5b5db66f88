"""A feature cache that would be useful without the rest of fusion."""
