"""Plots of docs/results/performance.md, drawn from the JSON files in docs/img.

python benchmarks/plots.py [--reading PYTEST_BENCHMARK.json]

``extraction.py --out`` and ``workers.py --out`` write the figures. Those of reading are measured by
``pytest benchmarks/test_cache.py -k shuffled --benchmark-json FILE``; --reading imports the plotted
values from that file.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from timing import keep, machine

matplotlib.use("svg")
import matplotlib.pyplot as plt

IMAGES = Path(__file__).resolve().parents[1] / "docs/img"
OURS, THEIRS, GREY = "#0f6e8c", "#d08a3c", "#9aa5ab"
STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "fusion",  # equal figures give an equal file
    "svg.fonttype": "none",
}


def figures(name: str) -> dict[str, Any] | None:
    """Return stored figures, or None if the file does not exist."""
    path = IMAGES / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def save(figure: Any, name: str) -> None:
    figure.tight_layout()
    figure.savefig(IMAGES / f"{name}.svg", metadata={"Date": None}, facecolor="white")
    plt.close(figure)
    print(IMAGES / f"{name}.svg")


def label(case: dict[str, Any]) -> str:
    return f"{case['name']}, {case['seconds of sound']:.1f} s\n{case['points']} points"


def plot_ratios(stored: dict[str, Any]) -> None:
    """Plot the time of both other pipelines for mel and persistence, relative to ours."""
    cases = stored["cases"]
    figure, axes = plt.subplots(figsize=(7, 3.2))
    for shift, name, colour in ((-0.2, "usual", THEIRS), (0.2, "sensible", GREY)):
        ratios = [c["pipelines"][name]["both"] / c["pipelines"]["ours"]["both"] for c in cases]
        places = [n + shift for n in range(len(cases))]
        bars = axes.bar(places, ratios, 0.38, color=colour, label=f"the {name} pipeline")
        axes.bar_label(bars, [f"{ratio:.0f} x" for ratio in ratios], padding=2)
    axes.set_yscale("log")
    axes.set_ylim(1, 3000)
    axes.set_xticks(range(len(cases)), [label(c) for c in cases])
    axes.set_ylabel("times as long as ours")
    axes.set_title("Mel + persistence of one clip, one core", loc="left")
    axes.legend(frameon=False, ncols=2, loc="upper left")
    save(figure, "extraction_ratios")


def plot_floor(stored: dict[str, Any]) -> None:
    """Plot the time of each part of ours, and of the reductions alone in each library."""
    cases = stored["cases"][:4]
    shown = ("decode, log-mel", "distances", "reductions, lunes", "images")
    colours = ("#b9d7e0", "#6fb0c4", OURS, "#083f52")
    figure, rows = plt.subplots(len(cases), 1, figsize=(7, 1.15 * len(cases) + 0.6), sharex=False)
    for axes, case in zip(rows, cases, strict=True):
        parts, total = case["parts"], 0.0
        for part, colour in zip(shown, colours, strict=True):
            named = part.replace("reductions, lunes", "reductions")
            axes.barh(2, 1e3 * parts[part], left=1e3 * total, color=colour, label=named)
            total += parts[part]
        bars = [
            axes.barh(1, 1e3 * parts["reductions, gudhi"], color=GREY),
            axes.barh(0, 1e3 * parts["reductions, ripser"], color=THEIRS),
        ]
        axes.text(1e3 * total, 2, f" {1e3 * total:.1f} ms", va="center")
        for bar in bars:
            axes.bar_label(bar, fmt=" %.0f ms")
        axes.set_yticks(
            [2, 1, 0], ["persistence, whole", "reductions alone, gudhi", "reductions alone, ripser"]
        )
        axes.margins(x=0.12)
        axes.set_title(label(case).replace("\n", ", "), loc="left", fontsize=9)
    handles, names = rows[0].get_legend_handles_labels()
    figure.legend(handles, names, frameon=False, ncols=4, loc="lower center", fontsize=8)
    rows[-1].set_xlabel("ms, one core\n")
    save(figure, "extraction_floor")


def plot_reading(stored: dict[str, Any]) -> None:
    """Plot the clips per second of reading shuffled batches, by way of storage."""
    features = list(stored["features"])
    figure, rows = plt.subplots(1, len(features), figsize=(8, 3.4), sharey=True)
    for axes, feature in zip(rows, features, strict=True):
        speeds = stored["features"][feature]
        first = stored["features"][features[0]]
        names = sorted(first, key=first.__getitem__)
        bars = axes.barh(
            names,
            [speeds[name] for name in names],
            color=[OURS if "cache" in n else THEIRS if "memmap" in n else GREY for n in names],
        )
        axes.bar_label(bars, [f"{speeds[name]:,.0f}" for name in names], padding=2, fontsize=8)
        axes.set_xscale("log")
        axes.margins(x=0.22)
        axes.set_title(f"{feature}, clips per second", loc="left", fontsize=9)
    save(figure, "reading")


def plot_workers(stored: dict[str, Any]) -> None:
    """Plot the speed of a build by the number of processes, and the ideal speed."""
    if len(stored["builds"]) < 2:
        print("No plot of builds: the figures contain fewer than two numbers of processes.")
        return
    jobs = [1, *(build["jobs"] for build in stored["builds"])]
    ratios = [1.0, *(build["ratio"] for build in stored["builds"])]
    figure, axes = plt.subplots(figsize=(3.6, 2.8))
    axes.plot(jobs, jobs, "--", color=GREY, label="perfect")
    axes.plot(jobs, ratios, "o-", color=OURS, label="a build of mel + persistence")
    for x, y in zip(jobs[1:], ratios[1:], strict=True):
        axes.annotate(f"{y:.2f}", (x, y), textcoords="offset points", xytext=(0, -13), ha="center")
    axes.set_xticks(jobs)
    axes.set_xlabel("processes")
    axes.set_ylabel("times as fast as one")
    axes.legend(frameon=False)
    axes.margins(0.15)
    save(figure, "workers")


PLOTS = {
    "extraction": (plot_ratios, plot_floor),
    "workers": (plot_workers,),
    "reading": (plot_reading,),
}


def keep_reading(path: Path) -> None:
    """Store the plotted values from a JSON file of pytest-benchmark."""
    benchmarks: Sequence[dict[str, Any]] = json.loads(path.read_text())["benchmarks"]
    features: dict[str, dict[str, float]] = {}
    for result in benchmarks:
        if result["name"].startswith("test_shuffled_batch"):
            feature = result["group"].split(" of ")[-1]
            speed = result["extra_info"]["clips"] / result["stats"]["median"]
            features.setdefault(feature, {})[result["params"]["name"]] = round(speed)
    # pytest-benchmark does not record the machine's load during the measurement.
    keep({"machine": {**machine(), "load": None}, "features": features}, IMAGES / "reading.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--reading", type=Path, help="JSON file of pytest-benchmark to import")
    options = parser.parse_args()
    if options.reading:
        keep_reading(options.reading)
    with plt.rc_context(STYLE):
        for name, drawers in PLOTS.items():
            stored = figures(name)
            if stored is None:
                print(f"Not plotted: {IMAGES / name}.json does not exist.")
                continue
            for draw in drawers:
                draw(stored)


if __name__ == "__main__":
    main()
