"""Moving of tensors between devices, and free memory of a device."""

import os

import torch

from fusion.core.toolkit.device import free_memory, on_device


def test_a_tensor_on_its_device_is_not_copied():
    tensor = torch.arange(6)
    assert on_device(tensor, torch.device("cpu")) is tensor


def test_a_tensor_on_another_device_is_a_copy_of_equal_type():
    result = on_device(torch.ones(2, 3, dtype=torch.bool), torch.device("meta"))
    assert (result.device.type, result.dtype, tuple(result.shape)) == ("meta", torch.bool, (2, 3))


def test_cached_gpu_memory_of_the_process_counts_as_free(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (1000, 5000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda index: 300)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda index: 100)
    assert free_memory(torch.device("cuda:0")) == 1200


def test_free_memory_without_a_gpu_is_that_of_the_system_or_a_default(monkeypatch):
    pages = {"SC_AVPHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", pages.__getitem__)
    assert free_memory(torch.device("cpu")) == 4_096_000

    def unknown(name):
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(os, "sysconf", unknown)
    assert free_memory(torch.device("cpu")) == 2 * 1024**3
    monkeypatch.delattr(os, "sysconf")
    assert free_memory(torch.device("mps")) == 2 * 1024**3
