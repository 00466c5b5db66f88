"""Features in and out: other programs' tables and HDF5 files, exports, a server."""
