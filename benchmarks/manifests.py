"""Try to load every table of clips in a folder, with a made-up recording for each path.

python benchmarks/manifests.py FOLDER

The folder is for instance a clone of a repository with tables of many corpora. Each CSV file below
it is copied beside links to one recording of 10 s, and loaded with its own labels. A line per
table says how it was understood, or why it was refused; the last lines count them.
"""

from __future__ import annotations

import argparse
import re
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import soundfile

from fusion.cache.exchange.columns import column_names
from fusion.cache.exchange.tables import read_table
from fusion.core.contracts.errors import ParameterError, UserError
from fusion.core.data.corpora import load_dataset
from fusion.core.data.sources import Source
from fusion.core.registry.registry import Registry

MOST_LINKS = 30_000  # recordings that are made for one table
RATE = 16_000
WHERE = re.compile(r"((?:, line \d+)?):? ?(.*)", re.DOTALL)


def link_recordings(table: Path, recording: Path) -> None:
    """Link the recording to the paths of a table, below the table's folder."""
    try:
        rows = read_table(table, column_names("path"), fault=ParameterError).rows
    except UserError:
        return  # loading the table will say why
    for text in {row.get("path") for row in rows[:MOST_LINKS]} - {None}:
        path = table.parent / str(text).lstrip("/")
        if ".." in path.parts:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        name = path if path.suffix else path.with_name(f"{path.name}.wav")
        if not name.exists():
            name.symlink_to(recording)


def outcome(table: Path, registry: Registry) -> str:
    """Return how a table is understood.

    Raises
    ------
    UserError
        If the table is refused.
    """
    data = load_dataset([Source(None, table)], registry.corpora(), labels="native")
    columns = ", ".join(f"{role} = {own}" for role, own in data.columns.get("table", {}).items())
    passed = {k: len(v) for reasons in data.passed_over.values() for k, v in reasons.items()}
    rest = f"; passed over: {', '.join(f'{k} {n}' for k, n in passed.items())}" if passed else ""
    return f"{len(data.clips)} clips, {len(data.classes)} classes; {columns}{rest}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="folder with CSV files")
    options = parser.parse_args()
    tables = sorted(options.folder.rglob("*.csv"))
    registry, started = Registry(), time.monotonic()
    refused: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        recording = Path(name) / "made.wav"
        soundfile.write(recording, np.full(10 * RATE, 0.1, np.float32), RATE)
        for table in tables:
            folder = Path(name) / "corpus"
            folder.mkdir()
            copy = Path(shutil.copy(table, folder))
            link_recordings(copy, recording)
            shown = table.relative_to(options.folder)
            try:
                print(f"loads    {shown}: {outcome(copy, registry)}", flush=True)
            except UserError as error:
                where, reason = WHERE.match(error.message.removeprefix(str(copy))).groups()
                refused[reason.partition(". ")[0]] += 1
                print(f"refused  {shown}{where}: {reason}", flush=True)
            shutil.rmtree(folder)
    total = sum(refused.values())
    print(f"\n{len(tables)} tables, {time.monotonic() - started:.0f} s")
    print(f"{len(tables) - total} load, {total} are refused:")
    for reason, count in refused.most_common():
        print(f"  {count:3d}  {reason}")


if __name__ == "__main__":
    main()
