"""Figure of the concept pages, from tables of docs/results: `python docs/generate/figures.py`."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from methods import rows_of

DOCS = Path(__file__).resolve().parents[1]
STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "svg.hashsalt": "fusion",  # the same file from the same figures
    "svg.fonttype": "none",
}
LOSS, GAIN, GREY = "#b5493a", "#0f6e8c", "#9aa5ab"


def main() -> None:
    """Draw docs/img/fusion_gain.svg."""
    rows = rows_of((DOCS / "results/comparison.md").read_text(encoding="utf-8"), "| view beside")
    bars = []
    for view, start, fitted, rule, strategy, _, minus_mel, _ in rows:
        name = f"{strategy.split(' (')[0].replace('*', '')}, {view}"
        details = [f"start {start}" if "(" not in start else "no joint training"]
        details += [f"gate on {fitted}"] if fitted else []
        details += [f"gradscale {rule}"] if rule and rule != "none" else []
        value = float(minus_mel.split()[0].replace("−", "-"))
        bars.append((f"{name}\n{'; '.join(details)}", value))
    bars.sort(key=lambda bar: bar[1])
    with matplotlib.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(7.5, 0.45 * len(bars) + 0.8))
        colours = [GAIN if value > 0.5 else LOSS if value < -0.5 else GREY for _, value in bars]
        drawn = axes.barh([name for name, _ in bars], [value for _, value in bars], color=colours)
        axes.bar_label(drawn, [f"{value:+.1f}" for _, value in bars], padding=3)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.margins(x=0.12)
        axes.tick_params(axis="y", length=0, labelsize=7.5)
        axes.set_xlabel("fused minus mel alone, points of test UAR")
        figure.tight_layout()
        target = DOCS / "img/fusion_gain.svg"
        figure.savefig(target, metadata={"Date": None}, facecolor="white")
    print(f"wrote {target}")


if __name__ == "__main__":
    main()
