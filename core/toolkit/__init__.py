"""Tools for plugins beside the contracts: audio, file names, metrics, ensembling."""
