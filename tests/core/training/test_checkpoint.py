"""Checkpoints of a training: complete or absent, with plain values and without code."""

import pickle
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest
import torch

from fusion.core.contracts.errors import RunError, StorageError
from fusion.core.training.checkpoint import load_checkpoint, save_checkpoint

CPU = torch.device("cpu")


@dataclass
class Progress:
    epoch: int = 3
    history: list[dict[str, float]] = field(default_factory=lambda: [{"val_uar": 0.5}])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoint.pt"


def test_a_saved_checkpoint_can_be_loaded(path):
    model = torch.nn.Linear(2, 3)
    save_checkpoint(path, Progress(), model=model.state_dict(), generator=torch.get_rng_state(),
                    balancers=[{"last": None, "scores": (1.0, 2)}])  # fmt: skip
    result = load_checkpoint(path, CPU)
    assert Progress(**result["progress"]) == Progress()
    assert torch.equal(result["model"]["weight"], model.weight)
    assert torch.equal(result["generator"], torch.get_rng_state())
    assert result["balancers"] == [{"last": None, "scores": (1.0, 2)}]


def test_a_later_checkpoint_replaces_the_previous_one(path):
    for epoch in (1, 2):
        save_checkpoint(path, Progress(epoch), weights=torch.ones(epoch))
    result = load_checkpoint(path, CPU)
    assert (result["progress"]["epoch"], len(result["weights"])) == (2, 2)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_tensors_are_loaded_to_the_requested_device(path):
    save_checkpoint(path, Progress(), weights=torch.ones(2))
    result = load_checkpoint(path, torch.device("meta"))
    assert result["weights"].device.type == "meta" and result["progress"] == asdict(Progress())


def test_progress_must_be_a_dataclass_instance(path):
    for wrong in ({"epoch": 1}, Progress):
        with pytest.raises(AssertionError):
            save_checkpoint(path, wrong)
    assert not path.exists()


@pytest.mark.attack("full disk")
def test_a_full_disk_keeps_the_previous_checkpoint(path, monkeypatch):
    save_checkpoint(path, Progress(1))
    error = OSError(28, "No space left on device")

    def full(target, data):
        with target.open("wb") as file:
            file.write(b"half")
        raise error

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError) as caught:
        save_checkpoint(path, Progress(2))
    assert caught.value.message == (
        f"The checkpoint {path} can't be written: No space left on device."
    )
    assert "--resume" in caught.value.hint
    assert load_checkpoint(path, CPU)["progress"]["epoch"] == 1
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_missing_folder_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match="can't be written"):
        save_checkpoint(tmp_path / "nowhere" / "checkpoint.pt", Progress())


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "text"])
def test_a_damaged_checkpoint_is_reported_with_a_hint(path, damage):
    save_checkpoint(path, Progress(), weights=torch.ones(100))
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes({"empty": b"", "cut": content[:-200], "text": b"hello"}[damage])
    with pytest.raises(RunError, match=f"The checkpoint {path} can't be read") as error:
        load_checkpoint(path, CPU)
    assert error.value.hint.startswith("Delete the file: this training then starts again")


@pytest.mark.parametrize(
    "write", [torch.save, lambda state, p: p.write_bytes(pickle.dumps(state, 2))]
)
def test_code_in_a_checkpoint_is_not_executed(path, write):
    class Trap:
        def __reduce__(self):
            return pytest.fail, ("the checkpoint was run",)

    write({"progress": Trap()}, path)
    with pytest.raises(RunError, match="can't be read"):
        load_checkpoint(path, CPU)
