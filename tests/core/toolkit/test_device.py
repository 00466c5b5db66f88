"""Tensors moved between devices, and what room a device has."""

import os

import torch

from fusion.core.toolkit.device import free_memory, on_device


def test_on_its_own_device_a_tensor_stays_what_it_is():
    tensor = torch.arange(6)
    assert on_device(tensor, torch.device("cpu")) is tensor


def test_on_another_device_it_is_a_copy_of_the_same_kind():
    found = on_device(torch.ones(2, 3, dtype=torch.bool), torch.device("meta"))
    assert (found.device.type, found.dtype, tuple(found.shape)) == ("meta", torch.bool, (2, 3))


def test_what_a_process_keeps_on_a_gpu_is_free_for_its_next_tensors(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (1000, 5000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda index: 300)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda index: 100)
    assert free_memory(torch.device("cuda:0")) == 1200


def test_elsewhere_it_is_the_memory_that_the_system_has_or_a_modest_guess(monkeypatch):
    pages = {"SC_AVPHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", pages.__getitem__)
    assert free_memory(torch.device("cpu")) == 4_096_000

    def unknown(name):
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(os, "sysconf", unknown)
    assert free_memory(torch.device("cpu")) == 2 * 1024**3
    monkeypatch.delattr(os, "sysconf")
    assert free_memory(torch.device("mps")) == 2 * 1024**3
