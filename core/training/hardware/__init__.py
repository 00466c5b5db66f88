"""Devices, memory and processes that a training uses: CUDA graphs, several processes, threads."""
