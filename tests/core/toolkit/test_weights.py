"""Weights on disk: atomic writes, and reading without running code."""

import pickle
import stat
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from fusion.core.contracts.errors import RunError, StorageError
from fusion.core.toolkit.weights import load_weights, save_weights

WEIGHTS = {"a.weight": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "a.count": torch.tensor(7)}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def test_saved_weights_are_read_with_types_and_metadata(path):
    save_weights(path, {**WEIGHTS, "half": torch.ones(2, dtype=torch.bfloat16)}, {"format": "1"})
    result = load_weights(path)
    assert set(result) == {"a.weight", "a.count", "half"}
    assert all(torch.equal(result[name], value) for name, value in WEIGHTS.items())
    assert (result["a.count"].dtype, result["half"].dtype) == (torch.int64, torch.bfloat16)
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"format": "1"}


def test_shared_transposed_and_trainable_tensors_can_be_saved(path):
    weight = torch.nn.Parameter(torch.arange(6.0).view(2, 3))
    save_weights(path, {"in": weight, "tied": weight, "out": weight.T}, {})
    result = load_weights(path)
    assert torch.equal(result["in"], weight) and torch.equal(result["tied"], weight)
    assert result["out"].tolist() == weight.T.tolist()
    assert not any(tensor.requires_grad for tensor in result.values())


def test_the_file_has_default_permissions(path):
    save_weights(path, WEIGHTS, {})
    (plain := path.with_name("plain")).touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_a_failed_write_keeps_the_old_weights_and_leaves_no_other_file(path, monkeypatch):
    save_weights(path, WEIGHTS, {})

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StorageError, match=f"weights {path} can't be written.*No space left"):
        save_weights(path, {"other": torch.zeros(3)}, {})
    assert set(load_weights(path)) == set(WEIGHTS)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_missing_folder_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match="can't be written"):
        save_weights(tmp_path / "nowhere" / "model.safetensors", WEIGHTS, {})


@pytest.mark.parametrize(
    "content", [None, b"", b"short", b"\xff" * 64], ids=["missing", "empty", "short", "long"]
)
def test_the_error_of_a_missing_or_damaged_file_names_what_to_delete(path, content):
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RunError, match=f"The weights {path} can't be read") as error:
        load_weights(path)
    assert str(path.parent / "training.json") in error.value.hint
    assert "fusion run --resume" in error.value.hint


def test_a_truncated_file_is_damaged(path):
    save_weights(path, WEIGHTS, {})
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RunError, match="can't be read"):
        load_weights(path)


def test_a_pickle_is_refused_and_not_run(path):
    class Trap:
        def __reduce__(self):
            return pytest.fail, ("the file was run",)

    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(RunError):
        load_weights(path)
