"""Selection of the plugins to check, and of their parameters and data."""

from pathlib import Path

import pytest

from fusion.core.contracts.errors import CorpusError, ParameterError, UnknownNameError
from fusion.core.registry.registry import Registry
from fusion.core.testing.selection import chosen, some_recordings, suites_of, third_party

PLUGIN = """
from fusion import {base}, hookimpl
class Mine({base}):
    '''Mine.'''
    name = "{name}"
@hookimpl
def {hook}(): return [Mine]
"""


def plugin_file(folder, name="mine", base="Balancer", hook="fusion_balancers"):
    file = Path(folder) / f"{name}_plugin.py"
    file.write_text(PLUGIN.format(base=base, name=name, hook=hook))
    return str(file)


def test_plugins_are_selected_by_name_module_distribution_and_file(tmp_path):
    file = plugin_file(tmp_path)
    registry = Registry([file])
    assert [entry.name for entry in third_party(registry)] == ["mine"]
    for name in ("mine", "mine_plugin", file):
        assert [entry.name for entry in chosen(registry, [name])] == ["mine"]
    ladder = [entry.name for entry in chosen(registry, ["ladder", "levelled"])]
    assert ladder == ["rebuilt", "started", "adaptive", "pretrained", "levelled", "balanced",
                      "joined", "corrected", "averaged"]  # fmt: skip
    assert len(chosen(registry, ["modal-fusion"])) == len(registry.entries()) - 1
    with pytest.raises(UnknownNameError, match="no plugin 'gatd'. Did you mean 'gated'"):
        chosen(registry, ["gatd"])


def test_settings_become_parameters_of_the_suite():
    registry = Registry()
    pairs = suites_of(chosen(registry, ["gated", "mel"]), {"gated": {"hidden": "8"}})
    assert {entry.name: dict(suite.parameters) for entry, suite in pairs} == {
        "gated": {"hidden": 8}, "mel": {},
    }  # fmt: skip
    with pytest.raises(UnknownNameError, match="no plugin to check 'gate'"):
        suites_of(chosen(registry, ["gated"]), {"gate": {"hidden": "8"}})
    with pytest.raises(UnknownNameError, match="no parameter of gated 'hiden'"):
        suites_of(chosen(registry, ["gated"]), {"gated": {"hiden": "8"}})


def test_settings_are_merged_with_declared_parameters():
    registry = Registry()
    ((_, suite),) = suites_of(chosen(registry, ["demo"]), {"demo": {"clips": "2"}})
    assert suite.parameters == {"speakers": 3, "clips": 2}


def test_data_is_for_corpora_and_extractors(tmp_path):
    registry = Registry()
    for name in ("b.wav", "a.wav", "notes.txt"):
        (tmp_path / name).touch()
    ((_, mel),) = suites_of(chosen(registry, ["mel"]), {}, tmp_path)
    assert mel.recordings == [tmp_path / "a.wav", tmp_path / "b.wav"]
    ((_, ravdess),) = suites_of(chosen(registry, ["ravdess"]), {}, tmp_path)
    assert ravdess.sample == tmp_path
    with pytest.raises(ParameterError, match="--data applies to a corpus or an extractor"):
        suites_of(chosen(registry, ["gated"]), {}, tmp_path)
    with pytest.raises(CorpusError, match="The path .*nowhere does not exist"):
        suites_of(chosen(registry, ["mel"]), {}, tmp_path / "nowhere")


def test_recordings_are_spread_over_a_folder(tmp_path):
    for number in range(20):
        (tmp_path / f"{number:02}.wav").touch()
    result = [int(path.stem) for path in some_recordings(tmp_path)]
    assert result == [0, 2, 5, 7, 10, 12, 15, 17]
    assert some_recordings(tmp_path / "03.wav") == [tmp_path / "03.wav"]
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").touch()
    assert some_recordings(tmp_path / "texts") == [tmp_path / "texts" / "a.txt"]
