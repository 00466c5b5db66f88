"""A cache kept sound and in bounds: verification, repair, packing, garbage collection."""
