"""Extract the prose of Python and Markdown files, and check it against docs/contributing/words.md.

Run `python tests/helpers/prose.py PATH...` to list every hit as `file:line: rule: text`; `--long`
also lists sentences of more than 30 words.
"""

import ast
import re
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Code in a line: literals, and names of parameters with their types.
CODE = re.compile(r"``[^`]*``|`[^`]*`|^\s*[\w, ]+ : .*|^\s*\w+(?:, \w+)*$")

LONG = 30  # words of a sentence

# First words of a summary line that leave the reader without a subject.
SUMMARY_STARTS = re.compile(
    r"(The same|Of|What|Who|Whom|Whose|How|Those|As|It|Its|They|Their|These|This|That|Such|Where"
    r"|Wherever|When|Which|Whether|Then|There|Here|None of|Not|Nor|And|But|Or|With|Without|By|To|In"
    r"|On|At|From|For|Before|After|Since|Until|Between|Through|If|Only|Same|Others?|So|Too|Also)\b"
)

# Phrases with a plainer standard term, and the term to use.
PHRASES = {
    r"\btold\b": "name the message or the state",
    r"\bsaid\b": "name the message",
    r"\blooked\b(?! up)": "checked, examined, searched",
    r"\blies\b(?! between)|\blie (?!between)|\blying\b": "is, is stored",
    r"\bstands? in\b": "replaces, is in",
    r"\bwhat is there\b": "name the contents",
    r"\b(goes|go|went|going|gone) on\b": "continue, resume",
    r"\bcom(es|e|ing) (of|by)\b": "results from, is obtained",
    r"\bcame (of|by)\b": "resulted from, was obtained",
    r"\b(is|are|was|were) gone\b": "was removed, does not exist",
    r"\b(never|not|not yet|nobody) heard\b|\bheard\b": "held-out, unseen",
    r"\bat hand\b": "available",
    r"\btimes (less|fewer|smaller|shorter)\b": "Nx faster, 1/N of",
    r"\bof which (it|they|he|she|there)\b": "whose, or two sentences",
    r"\bwhat of (it|them)\b": "name the part",
    r"\bwho(ever)? (asks|calls|reads|writes)\b": "the caller, the reader",
    r"\bhanded (on|out|over|in)\b|\bhands (on|out|over)\b": "passes, returns",
    r"\btaken for\b": "treated as, mistaken for",
    r"\bsays nothing\b|\bsays? of\b": "reports",
    r"\bmended\b|\bmends?\b(?! *[:=])": "repair, fix",
    r"\bin vain\b": "without effect",
    r"\baloud\b": "with a message",
    r"\bthe rest of it\b|\bthe whole of\b": "name the remainder",
    r"\bnothing but\b": "only",
    r"\bno more than\b": "at most",
    r"\bno longer there\b|\bnot there\b|\bis there\b(?! a\b)|\bare there\b": "exists",
    r"\bis meant\b|\bwas meant\b|\bare meant\b": "refers to, is intended",
    r"\bknows? of\b": "has, depends on",
    r"\bsuch (a|an) one\b|\bone such\b": "such a, one",
    r"\bhowever many\b|\bhowever much\b|\bhowever long\b": "any number of",
    r"\bin its place\b|\bin their place\b": "instead",
    r"\bfor good\b": "permanently",
    r"\bto and fro\b|\bforth\b|\bthere(of|in|by)\b|\bwhereof\b|\b[tw]hence\b": "plain English",
}

ANY_PHRASE = re.compile("|".join(PHRASES), re.IGNORECASE)  # most lines have none

# Names that say nothing about the value.
NAMES = frozenset(
    """
    told said looked answered there here what who whose whom those these they them lies goes
    comes gone such same others asked given taken meant known seen found heard kept held made
    done
    """.split()  # noqa: SIM905  (a list of 36 lines is no easier to read)
)

# Names that are public or stored in files, and stay.
PUBLIC = {
    "cache/builds/progress.py": {"done"},
    "core/contracts/data.py": {"whose"},
    "core/contracts/errors.py": {"known"},
    "core/contracts/step.py": {"known", "seen", "there"},
    "core/testing/costs.py": {"what"},
    "core/testing/faults/faulty_networks.py": {"done"},
    "core/workflows/audit_results.py": {"known"},
    "core/workflows/comparison.py": {"others"},
    "core/workflows/repair/outcome.py": {"kept"},
    "plugins/balancers/greedy.py": {"_left"},
    "plugins/balancers/relearn.py": {"_done"},
}

AMERICAN = re.compile(
    r"\b\w*(?:(?:normal|initial|serial|optim|general|regular|standard|summar|organ|real|visual|minim"
    r"|maxim|random|util|recogn|parametr|vector|quant|local|special|synchron|token|emphas|character"
    r"|final|categor|central|custom|equal|factor|harmon|memor|prior|penal|symbol|discret|orthogonal"
    r"|polar|anonym|author|stabil|mean-?central)iz(?:e|es|ed|er|ers|ing|ation|ations)"
    r"|behavior\w*|color(?:s|ed|ing)?|neighbor\w*|artifact\w*|labeled|labeling|modeled|modeling"
    r"|canceled|centered|favor\w*|analyz\w+|gray(?:scale)?|fulfill\b|license[sd]? under)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Prose:
    """One piece of text with its place; `kind` is docstring, comment, string or document."""

    file: Path
    line: int
    kind: str
    text: str


@dataclass(frozen=True)
class Hit:
    """One violation of a rule."""

    file: Path
    line: int
    rule: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.rule}: {self.text}"


def python_files(*folders: Path) -> list[Path]:
    """Return the Python files below `folders` (files are returned as they are), sorted."""
    return sorted(p for f in folders for p in ([f] if f.is_file() else f.rglob("*.py")))


def documented(tree: ast.Module) -> Iterator[tuple[ast.AST, ast.Constant]]:
    """Yield each module, class and function that has a docstring, with the docstring's node."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            match node.body:
                case [ast.Expr(value=ast.Constant(value=str()) as doc), *_]:
                    yield node, doc


def prose_of_python(file: Path) -> Iterator[Prose]:
    """Yield docstrings, comments and string literals that contain a space."""
    source = file.read_text(encoding="utf-8")
    tree = ast.parse(source)
    docs = {id(node) for _, node in documented(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            kind = "docstring" if id(node) in docs else "string"
            yield Prose(file, node.lineno, kind, node.value)
    with file.open("rb") as stream:
        for token in tokenize.tokenize(stream.readline):
            if token.type == tokenize.COMMENT and not token.string.startswith(
                ("# noqa", "# type:")
            ):
                yield Prose(file, token.start[0], "comment", token.string.lstrip("# "))


def prose_of_markdown(file: Path) -> Iterator[Prose]:
    """Yield the lines of a Markdown file outside code blocks, with `code` spans removed."""
    fenced = False
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if line.lstrip().startswith(("```", "~~~")):
            fenced = not fenced
        elif line == "## References":  # titles of papers are quoted as they are
            return
        elif not fenced:
            yield Prose(file, number, "document", re.sub(r"`[^`]*`|\]\([^)]*\)", "", line))


def phrase_hits(prose: Prose) -> Iterator[Hit]:
    """Yield each phrase of PHRASES and each American spelling in one piece of prose."""
    for offset, line in enumerate(prose.text.splitlines()):
        if line.strip("# ") == "References":  # titles of papers are quoted as they are
            return
        plain = CODE.sub("", line)
        for pattern, better in PHRASES.items() if ANY_PHRASE.search(plain) else ():
            for match in re.finditer(pattern, plain, re.IGNORECASE):
                yield Hit(prose.file, prose.line + offset, f"phrase {match[0]!r} ({better})", line)
        for match in AMERICAN.finditer(plain):
            yield Hit(prose.file, prose.line + offset, f"American spelling {match[0]!r}", line)


def summary_hits(file: Path) -> Iterator[Hit]:
    """Yield each docstring whose first line starts with a word of SUMMARY_STARTS."""
    for _, doc in documented(ast.parse(file.read_text(encoding="utf-8"))):
        assert isinstance(doc.value, str)
        first = doc.value.strip().split("\n", 1)[0]
        if SUMMARY_STARTS.match(first):
            yield Hit(file, doc.lineno, "summary line", first)


def name_hits(file: Path) -> Iterator[Hit]:
    """Yield each definition, argument and variable whose name is a word of NAMES."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = node.name
        elif isinstance(node, ast.arg):
            name = node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            name = node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            name = node.attr
        else:
            continue
        public = next((v for k, v in PUBLIC.items() if file.as_posix().endswith(k)), set())
        if name.strip("_") in NAMES and name not in public:
            yield Hit(file, node.lineno, "name", name)


def long_sentences(prose: Prose) -> Iterator[Hit]:
    """Yield sentences of more than LONG words."""
    if prose.kind == "string" or prose.text.lstrip().startswith(("|", ">>>")):
        return
    for paragraph in re.split(r"\n\s*\n", prose.text):
        if ">>>" in paragraph or "----" in paragraph:
            continue
        for sentence in re.split(r"(?<=[.:;?!])\s+", paragraph):
            if len(sentence.split()) > LONG:
                yield Hit(prose.file, prose.line, "long sentence", " ".join(sentence.split()))


def hits(path: Path) -> list[Hit]:
    """Return every hit of one Python or Markdown file."""
    if path.suffix == ".md":
        return [hit for prose in prose_of_markdown(path) for hit in phrase_hits(prose)]
    found = [hit for prose in prose_of_python(path) for hit in phrase_hits(prose)]
    return [*found, *summary_hits(path), *name_hits(path)]


def main(arguments: list[str]) -> None:
    """Print the hits of the files and folders in `arguments`."""
    paths = [Path(a) for a in arguments if a != "--long"]
    files = python_files(*(p for p in paths if p.suffix != ".md"))
    files += [m for p in paths for m in ([p] if p.suffix == ".md" else sorted(p.rglob("*.md")))]
    for file in files:
        for hit in hits(file):
            print(hit)
        if "--long" in arguments:
            prose = prose_of_markdown(file) if file.suffix == ".md" else prose_of_python(file)
            for piece in prose:
                for hit in long_sentences(piece):
                    print(hit)


if __name__ == "__main__":
    main(sys.argv[1:])
