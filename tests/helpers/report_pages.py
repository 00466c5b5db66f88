"""Checks of a report's HTML: every tag is closed, every id unique, and nothing is external."""

import json
import re
from html.parser import HTMLParser

from fusion.core.analysis.report import write_report
from fusion.core.runs.run import Run

SECTIONS = ["verdict", "models", "diagnosis", "learning", "inside", "confusions", "disagreement",
            "examples", "speakers", "calibration", "cost", "inputs", "clips", "repeat",
            "words"]  # fmt: skip
VOID = {"meta", "img", "br", "hr"}


def report_of(run, *out):
    return write_report(Run.open(run), *out)


class Checked(HTMLParser):
    """HTML parser that fails on open, doubly closed or crossed tags, and collects ids and links."""

    def __init__(self, html):
        super().__init__()
        self.open, self.ids, self.links, self.words = [], [], [], []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self._note(attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self._note(attrs)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def _note(self, attrs):
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href"):
                self.links.append(value)
            self.links += re.findall(r"url\(([^)]*)\)", value or "")


def checked(path):
    html = path.read_text(encoding="utf-8")
    page = Checked(html)
    assert len(set(page.ids)) == len(page.ids)
    assert html.startswith("<!doctype html>\n<html") and html.endswith("</html>\n")
    assert "<script" not in html and "http:" not in html and "https:" not in html
    for link in page.links:
        assert link.startswith(("#", "data:image/png")), link
        assert not link.startswith("#") or link[1:] in page.ids
    assert len(html) < 1_000_000
    return html, page


def change(path, **changes):
    """Change the values of keys in a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
