"""Pages docs/reference/methods/: one for each built-in plugin, made from its docstring.

Formulas come from formulas.toml, results from the tables of docs/results.
"""

from __future__ import annotations

import re
import textwrap
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from fusion.core.registry.docstrings import sections, summary
from fusion.core.registry.parameters import Parameter, parameters_of, space_of
from fusion.core.registry.registry import Entry, Registry

DOCS = Path(__file__).parents[1]
FOLDER = DOCS / "reference/methods"
KINDS = {
    "strategy": "Strategies",
    "balancer": "Balancers",
    "branch": "Branches",
    "extractor": "Extractors",
    "corpus": "Corpora",
    "tracker": "Trackers",
}
DISTRIBUTION = "modal-fusion"

_PASSED_BY_FUSION = ("dims", "num_classes", "shape", "dim", "path")
_FROM_ANNOTATIONS = ("Parameters", "Attributes")  # sections that the table of parameters replaces
_FIRST = ("When to use", "Cost")  # sections in front of the parameters
_INDEX = """# Methods

One page for each built-in plugin. `python docs/generate` writes these pages from docstrings, and
`fusion plugins show NAME` prints the same text in the terminal. The results on a page come from
[the comparison](../../results/comparison.md).
"""


def pages() -> dict[Path, str]:
    """Return the path and the text of each page, the index included."""
    registry = Registry()
    texts: dict[Path, str] = {}
    index = [_INDEX.rstrip()]
    for kind, title in KINDS.items():
        index += ["", f"## {title}", "", "| name | purpose |", "|---|---|"]
        entries = [e for e in registry.entries(kind) if e.source.distribution == DISTRIBUTION]
        for entry in sorted(entries, key=lambda e: e.name):
            name = f"{kind}-{entry.name}.md"
            texts[FOLDER / name] = page(entry)
            index.append(f"| [{entry.name}]({name}) | {_cell(summary(entry.cls))} |")
    texts[FOLDER / "index.md"] = "\n".join(index) + "\n"
    return texts


def stale(texts: Mapping[Path, str]) -> list[Path]:
    """Return the pages in the folder of methods that `texts` lacks: their plugins were removed."""
    return sorted(set(FOLDER.glob("*.md")) - set(texts))


def page(entry: Entry) -> str:
    """Return a plugin's page: formula, use, cost, parameters, results, source."""
    (_, text), *rest = sections(entry.cls)
    shown = {title: _markdown(body) for title, body in rest if title not in _FROM_ANNOTATIONS}
    parts = [f"# {entry.name}", f"*{entry.kind}*", _with_formula(_markdown(text), entry)]
    parts += [f"```sh\n{_call(entry)}\n```"]
    parts += [f"## {title}\n\n{shown.pop(title)}" for title in _FIRST if title in shown]
    parts += [*_parameters(entry), *_results(entry)]
    parts += [f"## {title}\n\n{body}" for title, body in shown.items()]
    return "\n\n".join(part for part in parts if part) + "\n"


@cache
def formulas() -> dict[str, dict[str, dict[str, str]]]:
    """Return LaTeX by kind and name of a plugin."""
    return tomllib.loads(Path(__file__).with_name("formulas.toml").read_text(encoding="utf-8"))


def _with_formula(text: str, entry: Entry) -> str:
    """Replace the first code block of a docstring by the plugin's formula, if it has one."""
    formula = formulas().get(entry.kind, {}).get(entry.name)
    if formula is None or entry.source.distribution != DISTRIBUTION:
        return text
    block = f"```math\n{formula['formula'].strip()}\n```"
    if "```text\n" not in text:
        first, _, body = text.partition("\n\n")
        return "\n\n".join(part for part in (first, block, body) if part)
    return re.sub(r"```text\n.*?```", lambda _: block, text, count=1, flags=re.DOTALL)


def _call(entry: Entry) -> str:
    option = {
        "strategy": f"--strategy {entry.name}",
        "balancer": f"--balance {entry.name}",
        "branch": f"--branch MODALITY={entry.name}",
        "extractor": f"--features {entry.name},...",
        "corpus": f"--data {entry.name}=PATH",
        "tracker": f"--tracker {entry.name}",
    }[entry.kind]
    return f"fusion run {option}"


def _parameters(entry: Entry) -> list[str]:
    parameters = parameters_of(entry.cls)
    shown = [p for p in parameters.values() if p.name not in _PASSED_BY_FUSION]
    if not shown:
        return ["No parameters."]
    return ["## Parameters", markdown_table(entry.owner, shown, space_of(entry.cls))]


def markdown_table(owner: str, parameters: Iterable[Parameter], space: Mapping[str, object]) -> str:
    """Return a table of parameters with types, defaults, ranges of `--tune` and meanings."""
    lines = ["| parameter | type | default | `--tune` | meaning |", "|---|---|---|---|---|"]
    for p in parameters:
        tuned = f"{space[p.name]}" if p.name in space else ""
        lines.append(
            f"| `{owner}.{p.name}` | {_cell(p.type_name)} | `{_cell(repr(p.default))}` "
            f"| {tuned} | {_cell(p.doc)} |"
        )
    return "\n".join(lines)


def _results(entry: Entry) -> list[str]:
    """Return what a method reached in our own comparison, from the tables of docs/results."""
    if entry.source.distribution != DISTRIBUTION:
        return []
    text = _comparison()
    accuracy = _table(text, "| training |")
    grid = _table(text, "| balancer | concat | normalised |")
    plain, concat = accuracy["together, plain"], grid["none"][0]
    lines = []
    if entry.kind == "balancer" and entry.name in accuracy:
        lines.append(
            f"On [the problem with a known answer](../../results/comparison.md"
            f"#on-a-problem-with-a-known-answer): {accuracy[entry.name][0]} % accuracy; plain "
            f"joint training {plain[0]} %."
        )
    if entry.kind == "balancer" and entry.name in grid:
        lines.append(
            f"In [the grid of version 0.1 on RAVDESS](../../results/comparison.md#on-real-speech), "
            f"with `concat`: {grid[entry.name][0]} % test UAR; plain training {concat} %."
        )
    row = accuracy.get(f"together, plain, strategy {entry.name}")
    if entry.kind == "strategy" and row:
        lines.append(
            f"On [the problem with a known answer](../../results/comparison.md"
            f"#on-a-problem-with-a-known-answer), without a balancer: {row[0]} % accuracy; "
            f"concatenated embeddings {plain[0]} %."
        )
    columns = _columns(text, "| balancer | concat | normalised |")
    if entry.kind == "strategy" and entry.name in columns:
        lines.append(
            f"In [the grid of version 0.1 on RAVDESS](../../results/comparison.md#on-real-speech), "
            f"without a balancer: {grid['none'][columns.index(entry.name)]} % test UAR; `concat` "
            f"{concat} %."
        )
    if entry.kind in ("strategy", "balancer") and not lines:
        lines = ["Not measured."]
    return ["## In our comparison", "\n".join(lines)] if lines else []


@cache
def _comparison() -> str:
    return (DOCS / "results/comparison.md").read_text(encoding="utf-8")


def _table(page: str, head: str) -> dict[str, list[str]]:
    """Return a table's rows by their first cell."""
    return {first: cells for first, *cells in rows_of(page, head)}


def rows_of(page: str, head: str) -> list[list[str]]:
    """Return the rows of the first table in a page whose head starts with `head`."""
    rows = page[page.index(head) :].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def _columns(page: str, head: str) -> list[str]:
    """Return the names of a table's columns after the first."""
    line = page[page.index(head) :].split("\n", 1)[0]
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def _cell(text: str) -> str:
    """Escape text for a cell of a Markdown table."""
    return text.replace("|", "\\|")


def _markdown(text: str) -> str:
    """Convert a docstring's reStructuredText, as far as this project uses it, to Markdown."""
    lines: list[str] = []
    inside = False
    for line in text.replace("``", "`").splitlines():
        if line.rstrip() == "::":
            lines.append("```text")
            inside = True
        elif inside and line and not line.startswith(" "):
            while not lines[-1]:
                lines.pop()
            lines += ["```", "", line]
            inside = False
        elif line or lines[-1:] != ["```text"]:
            lines.append(line)
    if inside:
        lines.append("```")
    return _dedented(lines)


def _dedented(lines: list[str]) -> str:
    """Remove the indentation of code between fences."""
    parts = "\n".join(lines).split("```")
    for i in range(1, len(parts), 2):
        language, _, code = parts[i].partition("\n")
        parts[i] = f"{language}\n{textwrap.dedent(code)}"
    return "```".join(parts)
