"""Features on disk: HDF5 shards of arrays, their index, and claims on items being computed."""
