"""Exchange of features: other programs' tables and HDF5 files, exports, and a server."""
