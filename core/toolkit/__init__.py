"""Tools for plugins, in addition to the contracts: audio, file names, metrics, ensembling."""
