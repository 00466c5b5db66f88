"""Detection of torchrun from the environment of a process."""

import pytest

from fusion.core.contracts.errors import UserError
from fusion.core.toolkit.torchrun import refuse_torchrun, started_by_torchrun


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "2"}, True),
        ({"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "16"}, True),  # torchrun's default id
        ({"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "1"}, False),  # a single process
        ({"TORCHELASTIC_RUN_ID": "1"}, False),
        ({"WORLD_SIZE": "2"}, False),  # set by hand or by another launcher
    ],
)
def test_one_of_several_processes_of_torchrun(environment, expected, monkeypatch):
    for name in ("TORCHELASTIC_RUN_ID", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert started_by_torchrun() is expected
    if not expected:
        refuse_torchrun("compare")
        return
    with pytest.raises(
        UserError, match="can't start fusion compare: each of its processes would repeat"
    ) as e:
        refuse_torchrun("compare")
    assert e.value.hint.endswith("fusion compare ...")
