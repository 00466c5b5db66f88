"""Features on disk: HDF5 files of arrays, the index of all, claims on what is missing."""
