"""Manifests of EmoBox under all of their published names."""

import json

import pytest

from fusion.core.contracts.errors import CorpusError
from fusion.plugins.corpora._emobox import Manifest, is_manifest

LABELS = {"gio": "Happy", "rab": "Angry"}


def emovo(root, name, text):
    """Write the manifest of EMOVO with a file of labels."""
    folder = root / "EmoBox/data/emovo"
    for fold in (1, 2):
        file = folder / f"fold_{fold}/emovo_test_fold_{fold}.jsonl"
        file.parent.mkdir(parents=True)
        records = [{"key": f"emovo-{emo}-f{fold}-b1", "emo": emo} for emo in LABELS]
        file.write_text("".join(json.dumps(record) + "\n" for record in records))
    (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("name", ["label_map.json", "label_dict.json"])
def test_labels_are_read_under_both_names(tmp_path, name):
    folder = emovo(tmp_path, name, json.dumps(LABELS))
    assert is_manifest(folder)
    rows = Manifest(folder).rows()
    assert [(row.get("label"), row.get("fold")) for row in rows] == [
        ("Happy", "1"), ("Angry", "1"), ("Happy", "2"), ("Angry", "2"),
    ]  # fmt: skip


def test_a_damaged_file_of_labels_is_named(tmp_path):
    folder = emovo(tmp_path, "label_dict.json", "[")
    with pytest.raises(CorpusError, match=r"label_dict\.json is not a JSON object of labels"):
        Manifest(folder).rows()
