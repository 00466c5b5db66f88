"""List every error message of the package in a row: `python tests/helpers/messages.py [PATH...]`.

A message is the first text of an exception that is raised or returned, as `file:line: text`, with
`{...}` for what is filled in and the hint on a line of its own.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from prose import python_files

ROOT = Path(__file__).resolve().parents[2]


def text_of(node: ast.AST) -> str:
    """Return the source of a text, with `{...}` for each part that is not a constant."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(text_of(part) for part in parts)
        case ast.FormattedValue(value=value):
            return "{" + ast.unparse(value) + "}"
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            return text_of(left) + text_of(right)
        case _:
            return "{" + ast.unparse(node) + "}"


def messages(file: Path) -> Iterator[tuple[int, str, str]]:
    """Yield line, message and hint of each exception that is made in a file."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        match node:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=[first, *_]):
                if not name.endswith(("Error", "Exception")) or not _has_text(first):
                    continue
                hint = next((text_of(k.value) for k in node.keywords if k.arg == "hint"), "")
                yield node.lineno, text_of(first), hint


def _has_text(node: ast.AST) -> bool:
    return any(
        isinstance(part, ast.Constant) and isinstance(part.value, str) and " " in part.value
        for part in ast.walk(node)
    )


def main(arguments: list[str]) -> None:
    """Print the messages of the files and folders in `arguments`, or of the whole package."""
    folders = [Path(a) for a in arguments] or [ROOT / name for name in ("core", "cache", "plugins")]
    for file in python_files(*folders):
        for line, message, hint in messages(file):
            print(f"{file}:{line}: {message}")
            if hint:
                print(f"    hint: {hint}")


if __name__ == "__main__":
    main(sys.argv[1:])
