"""What the models answered on test: confusions, disagreements, speakers, corpora, calibration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...runs.execution.jobs import FUSED
from ...runs.outcome.results import CHOSEN
from ...runs.outcome.selection import ENSEMBLE
from ...toolkit.metrics import expected_calibration_error, nll
from .charts import dot_rows, reliability
from .drawing import legend
from .evidence import (
    BINS,
    calibration_bins,
    oracle_uar,
    uar_by_corpus,
    uar_by_speaker,
    who_is_right,
)
from .formatting import colour_of, dot_of, percent
from .markup import Html, element, figures, join, missing, section, table
from .run_data import Answers, ReadRun

_NO_ANSWERS = "predictions.csv can't be read: what each clip was taken for is not known."
_MOST_SPEAKERS = 60


def confusions(run: ReadRun) -> Html:
    """One matrix per model."""
    matrices = run.results.confusions
    panels: list[tuple[object, Html]] = [
        (name, _matrix(name, np.array(matrices[name]), run.classes))
        for name in run.models
        if name in matrices and not _same_as_another(run, name)
    ]
    return section(
        "confusions",
        "Which classes are confused",
        figures(
            panels,
            caption="Rows are what was said, columns what it was taken for: per cent of the "
            "row's clips, so the diagonal holds the recall of each class."
            + _left_out(run, "matrix"),
        ),
    )


def _matrix(name: str, counts: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
            classes: Sequence[str]) -> Html:  # fmt: skip
    total = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, total, out=np.zeros(counts.shape), where=total > 0)
    styles = [[f"--s:{share:.2f}" for share in row] for row in shares]
    rows = [
        [truth, *(f"{100 * share:.0f}" if n else "" for share, n in zip(row, given, strict=True))]
        for truth, row, given in zip(classes, shares, counts, strict=True)
    ]
    return table(
        ["", *classes], rows, label=f"Confusion matrix of {name}", class_="matrix", styles=styles
    )


def _same_as_another(run: ReadRun, name: str) -> bool:
    """What validation chose is often one of the other models, in every fold."""
    if name != CHOSEN or run.selection is None:
        return False
    return len({fold.chosen for fold in run.selection.folds}) == 1


def _left_out(run: ReadRun, what: str) -> str:
    if run.selection is None or not _same_as_another(run, CHOSEN):
        return ""
    return f" What is handed out is {run.selection.folds[0].chosen}: its {what} stands for both."


def disagreements(run: ReadRun) -> Html:
    """Who is right where the modalities disagree."""
    answers, modalities = run.answers, run.modalities
    title = "Where the modalities disagree"
    if answers is None:
        return section("disagreement", title, missing(_NO_ANSWERS))
    if len(modalities) < 2:
        return section("disagreement", title, missing("There is one modality alone."))
    models = [FUSED, ENSEMBLE, CHOSEN]
    patterns = who_is_right(answers, modalities, models)
    total = len(answers.said.targets)
    rows: list[list[object]] = [
        [
            pattern.name,
            str(pattern.clips),
            percent(pattern.clips / total),
            *(_of(pattern.right[m], pattern.clips) for m in models),
        ]
        for pattern in patterns
    ]
    rows.append(["all clips", str(total), percent(1.0), *(
        _of(int(answers.right(m).sum()), total) for m in models)])  # fmt: skip
    single = run.results.model(run.results.best_single).uar.value
    return section(
        "disagreement",
        title,
        table(
            ["right, trained alone", "clips", "% of clips", *(f"{m} right" for m in models)],
            rows,
            label="Who is right where the modalities disagree",
            caption="Each modality trained alone, on the test clips. Fusion can win only in the "
            "rows where some modalities are right and others wrong; what it loses in the first "
            "row was known without it.",
        ),
        element(
            "p",
            "Oracle: if for each clip one knew which modality to believe, UAR would be "
            f"{percent(oracle_uar(answers.said, modalities))} %; the best single modality "
            f"({run.results.best_single}) has {percent(single)} %, the fused model "
            f"{percent(run.results.model(FUSED).uar.value)} %.",
        ),
    )


def _of(right: int, clips: int) -> str:
    return f"{right} ({percent(right / clips)} %)" if clips else ""


def speakers(run: ReadRun) -> Html:
    """Scores of each speaker, and of each corpus where there are several."""
    answers = run.answers
    title = "Speakers and corpora"
    if answers is None:
        return section("speakers", title, missing(_NO_ANSWERS))
    models = _compared(run)
    names = np.unique(answers.said.speakers)
    scores = {m: uar_by_speaker(answers.said, m) for m in models}
    gain = scores[FUSED] - scores[run.results.best_single]
    order = np.argsort(-gain, kind="stable")
    shown = order
    if len(order) > _MOST_SPEAKERS:
        shown = np.concatenate([order[: _MOST_SPEAKERS // 2], order[-_MOST_SPEAKERS // 2 :]])
    several = len(set(answers.corpora.tolist())) > 1
    drawn = dot_rows(
        [str(n) if several else str(n).partition("/")[2] for n in names[shown]],
        [(m, dot_of(m, run.modalities), scores[m][shown]) for m in models],
        label="UAR of each speaker",
        x="UAR of the speaker's clips (%)",
    )
    left_out = (
        f" Of {len(order)} speakers, the {_MOST_SPEAKERS // 2} at either end are shown."
        if len(order) > _MOST_SPEAKERS
        else ""
    )
    better, worse = int((gain > 0).sum()), int((gain < 0).sum())
    return section(
        "speakers",
        title,
        figures(
            [("", drawn)],
            legend=legend([(m, dot_of(m, run.modalities)) for m in models]),
            caption="Each line is one test speaker, from the one that gains most by fusion down "
            f"to the one that loses most: {better} of {len(order)} do better with the fused model "
            f"than with {run.results.best_single} alone, {worse} worse.{left_out}",
        ),
        _corpora(run, answers) if several else Html(),
    )


def _corpora(run: ReadRun, answers: Answers) -> Html:
    by_model = {m: uar_by_corpus(answers, m) for m in run.models}
    clips = {c: int((answers.corpora == c).sum()) for c in by_model[FUSED]}
    rows = [[c, str(n), *(percent(by_model[m][c]) for m in run.models)] for c, n in clips.items()]
    return table(
        ["corpus", "clips", *run.models],
        rows,
        label="UAR of each corpus",
        caption="UAR on the test clips of each corpus, per cent.",
    )


def _compared(run: ReadRun) -> list[str]:
    """The models that figures with little room show."""
    return [run.results.best_single, FUSED]


def calibration(run: ReadRun) -> Html:
    """Whether the models know how sure they may be."""
    answers = run.answers
    title = "How sure the models are, and how right"
    if answers is None:
        return section("calibration", title, missing(_NO_ANSWERS))
    models = [m for m in (*_compared(run), ENSEMBLE, CHOSEN) if not _same_as_another(run, m)]
    targets = answers.said.targets
    panels: list[tuple[object, Html]] = []
    rows: list[list[object]] = []
    for m in models:
        given = answers.probabilities[m]
        error = expected_calibration_error(given, targets, BINS)
        drawn = reliability(
            calibration_bins(given, targets),
            colour=colour_of(m, run.modalities),
            label=f"Reliability of {m}: calibration error {percent(error)} per cent",
        )
        panels.append((f"{m}: ECE {percent(error)} %", drawn))
        rows.append(
            [
                m,
                percent(error),
                percent(float(given.max(axis=1).mean())),
                percent(float(answers.right(m).mean())),
                f"{nll(given, targets):.3f}",
            ]
        )
    return section(
        "calibration",
        title,
        join(
            [
                figures(
                    panels,
                    caption="Clips grouped by how sure the model was of its answer; a larger dot "
                    "is more clips. On the broken line a model is right as often as it says; "
                    "below it, it is too sure." + _left_out(run, "figure"),
                ),
                table(
                    ["model", "ECE (%)", "mean confidence (%)", "right (%)", "log loss (nats)"],
                    rows,
                    label="Calibration of the models",
                    caption="ECE, the expected calibration error, is the mean distance between "
                    f"confidence and share of right answers, over {BINS} bins; with few clips it "
                    "is too large. Log loss: what the right class's probability costs.",
                ),
            ]
        ),
    )
