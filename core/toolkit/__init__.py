"""Tools that plugins may use beside the contracts: audio, file names, metrics, ensembling."""
