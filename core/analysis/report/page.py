"""The page around the sections: one file that needs nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .drawing import with_own_ids
from .markup import Html, element, join, section
from .style import STYLE

_WORDS = {
    "UAR": "Unweighted average recall: the share of clips of a class that is recognised, averaged "
    "over the classes. Guessing gives 1 / number of classes.",
    "WA": "Weighted accuracy: the share of all clips that is recognised.",
    "macro-F1": "F1, the balance of recall and precision, averaged over the classes.",
    "modality": "One view of a clip: one kind of feature with a network of its own, its branch.",
    "fused": "The model that joins the modalities and is trained as a whole.",
    "ensemble": "The modalities' own models in a log-linear pool: their log-probabilities are "
    "added up with weights that validation chose.",
    "control": "The best single modality, trained from scratch for as many steps as the fused "
    "model had in all, its start from the baselines included: what training alone brings.",
    "chosen": "What validation found best, fold by fold: the model that is handed out.",
    "95 % interval": "Where the figure may lie for other speakers: whole speakers are drawn again "
    "and again from those tested.",
    "probe": "A linear classifier that reads one branch inside the fused model and does not change "
    "it: it shows what that branch knows.",
    "entropy": "How spread out a prediction is over the classes, in nats: 0 for a sure one, ln C "
    "for C equal probabilities.",
}


def page(title: str, subtitle: object, sections: Sequence[Html]) -> str:
    """The whole HTML file; its table of contents follows from the sections."""
    contents = [
        element("li", element("a", Html(head), href=f"#{anchor}"))
        for part in sections
        for anchor, head in re.findall(r'<section id="([^"]+)"><h2>(.*?)</h2>', part)
    ]
    body = join(
        [
            element(
                "header",
                element("h1", title),
                element("p", subtitle, class_="subtitle"),
                element("nav", element("ul", *contents), aria_label="Contents"),
            ),
            element("main", *sections),
            element("footer", "Made by fusion from the files of the run directory."),
        ]
    )
    head = join(
        [
            Html('<meta charset="utf-8">'),
            Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            element("title", title),
            Html(f"<style>{STYLE}</style>"),
        ]
    )
    whole = f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{body}</body></html>\n'
    return with_own_ids(re.sub(r"(</section>|</figure>|</article>)", r"\1\n", whole))


def words() -> Html:
    """What the words on the page mean."""
    items = [
        part
        for name, meaning in _WORDS.items()
        for part in (element("dt", name), element("dd", meaning))
    ]
    return section("words", "Words", element("dl", *items, class_="words"))
