"""Files that are written atomically: whole, unchanged or absent."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from fusion.core.toolkit.atomic import remove_unfinished, replaced


def test_a_file_is_replaced_when_the_context_ends(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    with replaced(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == tmp_path and temporary.name.startswith(".")
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_interrupted_write_leaves_the_old_file_alone(tmp_path, error):
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(error), replaced(path) as temporary:
        temporary.write_text("ne")
        raise error
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), replaced(tmp_path / "none" / "a") as temporary:
        temporary.write_text("x")


def test_a_folder_is_not_replaced_by_a_file(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    with pytest.raises(OSError, match="a"), replaced(tmp_path / "a") as temporary:
        temporary.write_text("x")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_threads_may_write_one_file(tmp_path):
    def write(number: int) -> None:
        with replaced(tmp_path / "a") as temporary:
            temporary.write_text(str(number) * 10_000)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(10)))
    assert len(set((tmp_path / "a").read_text())) == 1 and len(list(tmp_path.iterdir())) == 1


def test_files_that_killed_processes_left_are_removed(tmp_path):
    for name in ("checkpoint.pt", ".lock", ".hidden.txt", ".checkpoint.pt.0a1b2c3d"):
        (tmp_path / name).write_text("")
    (tmp_path / ".folder.0a1b2c3d").mkdir()
    remove_unfinished(tmp_path)
    remove_unfinished(tmp_path / "missing")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [".folder.0a1b2c3d", ".hidden.txt", ".lock", "checkpoint.pt"]
