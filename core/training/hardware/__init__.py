"""Devices, memory, CUDA graphs and distributed processes of a training."""
