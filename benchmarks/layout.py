"""Figures of the code's layout: files, lines, import levels and cycles, repeated lines.

python benchmarks/layout.py            # this checkout
python benchmarks/layout.py OTHER      # another one, such as a git worktree of an older commit

The number of floors is the length of the longest chain of imports, where an import cycle (a
"circle") counts as one module. A repeated block is six consecutive lines that occur more than once
in core, cache and plugins, ignoring blank lines, comments and imports. The command needs the extra
`dev` (grimp, a dependency of import-linter).
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

import grimp
import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

TOPS = ("core", "cache", "plugins")
BLOCK = 6  # lines


def sources(root: Path) -> dict[str, list[Path]]:
    """Return the Python files of each folder."""
    files: dict[str, list[Path]] = {}
    for top in TOPS:
        for path in sorted((root / top).rglob("*.py")):
            files.setdefault(str(path.parent.relative_to(root)), []).append(path)
    return files


def imports(root: Path) -> tuple[list[str], np.ndarray]:
    """Return the modules of core and cache, and an (n, n) bool matrix: row imports column."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "fusion").symlink_to(root)
        sys.path.insert(0, folder)
        # The folder takes precedence over the finder of an editable install of this checkout.
        graph = grimp.build_graph("fusion", cache_dir=None)
        sys.path.remove(folder)
    names = sorted(m for m in graph.modules if m.startswith(("fusion.core", "fusion.cache")))
    number = {name: i for i, name in enumerate(names)}
    matrix = np.zeros((len(names), len(names)), dtype=bool)
    for name in names:
        for other in graph.find_modules_directly_imported_by(name):
            if other in number:
                matrix[number[name], number[other]] = True
    return names, matrix


def circles_and_floors(matrix: np.ndarray) -> tuple[list[int], int]:
    """Return the sizes of the import cycles, and the number of floors."""
    count, label = connected_components(csr_matrix(matrix), connection="strong")
    sizes = np.bincount(label, minlength=count)
    above: dict[int, set[int]] = {i: set() for i in range(count)}
    for i, j in np.argwhere(matrix).tolist():
        if label[i] != label[j]:
            above[int(label[i])].add(int(label[j]))
    floors: dict[int, int] = {}

    def floor(group: int) -> int:
        if group not in floors:
            floors[group] = 1 + max((floor(other) for other in above[group]), default=0)
        return floors[group]

    return sorted((int(s) for s in sizes if s > 1), reverse=True), max(map(floor, range(count)))


def repeated_blocks(files: list[Path]) -> int:
    """Return the number of blocks of lines that occur more than once."""
    counts: Counter[tuple[str, ...]] = Counter()
    for path in files:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        lines = [x for x in lines if x and not x.startswith(("#", "import ", "from "))]
        counts.update({tuple(lines[i : i + BLOCK]) for i in range(len(lines) - BLOCK + 1)})
    return sum(count > 1 for count in counts.values())


def main() -> None:
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1]).resolve()
    os.chdir(tempfile.gettempdir())  # the current folder may contain another `fusion`
    by_folder = sources(root)
    files = [path for paths in by_folder.values() for path in paths]
    for top in TOPS:
        own = [p for p in files if p.relative_to(root).parts[0] == top]
        lines = sum(len(p.read_text(encoding="utf-8").splitlines()) for p in own)
        print(
            f"{top}: {len(own)} files, {len(by_folder.get(top, []))} of them loose, {lines} lines"
        )
    largest = sorted(by_folder.items(), key=lambda item: -len(item[1]))[:3]
    print("largest folders:", ", ".join(f"{name} {len(paths)}" for name, paths in largest))
    circles, floors = circles_and_floors(imports(root)[1])
    print(f"core and cache: {floors} floors, {len(circles)} circles {circles}")
    print(f"repeated blocks of {BLOCK} lines: {repeated_blocks(files)}")


if __name__ == "__main__":
    main()
