"""Choice of device and precision, on simulated machines."""

import pytest
import torch

from fusion.core.contracts.errors import ParameterError
from fusion.core.training.hardware import distributed
from fusion.core.training.hardware.device import choose_device, choose_precision

CPU, CUDA, MPS = (torch.device(name) for name in ("cpu", "cuda", "mps"))


@pytest.fixture
def machine(monkeypatch):
    """Return a function that simulates a machine with or without an accelerator."""

    def made(*, cuda=False, mps=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(torch, "empty", lambda *_, device: None)

    return made


@pytest.mark.parametrize(
    ("present", "expected"),
    [({"cuda": True, "mps": True}, "cuda"), ({"mps": True}, "mps"), ({}, "cpu")],
)
def test_auto_is_the_fastest_available_device(machine, present, expected):
    machine(**present)
    assert choose_device("auto") == torch.device(expected)


@pytest.mark.parametrize("wanted", ["cpu", "cuda", "cuda:3"])
def test_a_named_device_is_used(machine, wanted):
    machine(cuda=True)
    assert choose_device(wanted) == torch.device(wanted)


@pytest.mark.parametrize(
    ("wanted", "expected"), [("auto", "cuda:2"), ("cuda", "cuda:2"), ("cuda:0", "cuda:0")]
)
def test_each_of_several_processes_has_its_own_gpu_unless_one_is_named(
    machine, monkeypatch, wanted, expected
):
    machine(cuda=True)
    monkeypatch.setenv("LOCAL_RANK", "2")
    assert choose_device("auto") == CUDA  # the variable alone has no effect
    monkeypatch.setattr(distributed, "launched", lambda: True)
    assert choose_device(wanted) == torch.device(expected)
    monkeypatch.delenv("LOCAL_RANK")
    assert choose_device("auto") == torch.device("cuda", 0)


@pytest.mark.parametrize("wanted", ["gpu", "", "cpu:x"])
def test_an_invalid_device_is_refused_with_the_accepted_ones(wanted):
    with pytest.raises(ParameterError, match=f"^--device {wanted} can't be used here: ") as error:
        choose_device(wanted)
    assert error.value.hint.startswith("Accepted: auto, cpu, cuda, cuda:N, mps")
    assert "\n" not in error.value.message


@pytest.mark.parametrize("kind", [RuntimeError, AssertionError, NotImplementedError])
def test_an_absent_device_is_refused_with_the_first_line_of_the_reason(monkeypatch, kind):
    def absent(*_, device):
        raise kind("No such card.\nA long explanation.")

    monkeypatch.setattr(torch, "empty", absent)
    with pytest.raises(ParameterError) as error:
        choose_device("cuda:9")
    assert error.value.message == "--device cuda:9 can't be used here: No such card."


@pytest.mark.parametrize("device", [CPU, CUDA, MPS])
def test_a_named_precision_is_used_on_any_device(device):
    assert choose_precision("float32", device) is torch.float32
    assert choose_precision("bfloat16", device) is torch.bfloat16


@pytest.mark.parametrize("native", [True, False])
def test_auto_is_bfloat16_on_a_gpu_only_if_it_is_not_emulated(monkeypatch, native):
    # Without the argument, an emulating GPU reports support.
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported",
        lambda including_emulation=True: native or including_emulation,
    )  # fmt: skip
    assert choose_precision("auto", CUDA) is (torch.bfloat16 if native else torch.float32)


@pytest.mark.parametrize("instructions", ["_is_avx512_bf16_supported", "_is_amx_tile_supported"])
def test_auto_is_bfloat16_on_a_cpu_with_instructions_for_it(monkeypatch, instructions):
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    for check in checks:
        monkeypatch.setattr(torch.cpu, check, lambda: False, raising=False)
    assert choose_precision("auto", CPU) is torch.float32
    monkeypatch.setattr(torch.cpu, instructions, lambda: True)
    assert choose_precision("auto", CPU) is torch.bfloat16
    for check in checks:  # private functions of torch, which may be missing in other versions
        monkeypatch.delattr(torch.cpu, check)
    assert choose_precision("auto", CPU) is torch.float32


def test_auto_is_float32_on_other_devices():
    assert choose_precision("auto", MPS) is torch.float32
