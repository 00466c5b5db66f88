"""The notebook: a run without errors, its claims, and the committed outputs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")
nbclient = pytest.importorskip("nbclient")

NOTEBOOK = Path(__file__).parents[1] / "examples/repair_a_failing_fusion.ipynb"
LARGEST = 400_000  # bytes

# This cell runs in the notebook's kernel after all others.
CHECK = """
import json
print(json.dumps({
    "single_before": single_before,
    "fused_before": fused_before,
    "val_after": val_after,
    "single_after": repair.chosen.single,
    "faults": diagnosis.faults,
    "steps": [step.name for step in repair.steps],
    "reports": [r.is_file() for r in (broken.report, repair.result.report)],
    "shapley": sum(explanation.uar_shapley.values()),
    "uar": explanation.uar.value,
    "classes": len(explanation.classes),
}))
"""


def committed() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_the_committed_notebook_is_valid_and_small() -> None:
    notebook = committed()
    nbformat.validate(notebook)
    assert NOTEBOOK.stat().st_size < LARGEST
    assert notebook.metadata["kernelspec"]["name"] == "python3"


def test_every_cell_was_executed_in_order() -> None:
    cells = code_cells(committed())
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))


def test_outputs_have_figures_and_neither_errors_nor_warnings() -> None:
    outputs = [output for cell in code_cells(committed()) for output in cell.outputs]
    assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]
    assert sum("image/png" in o.get("data", {}) for o in outputs) == 6


def test_outputs_contain_no_local_paths() -> None:
    for cell in code_cells(committed()):
        for output in cell.outputs:
            shown = {k: v for k, v in output.get("data", {}).items() if k.startswith("text/")}
            text = "\n".join([output.get("text", ""), *shown.values()])
            assert not re.search(r"(?<![\w.<])/(?:home|root|tmp|usr|work|Users|var|opt)\b", text)
            assert not re.search(r"\b[A-Z]:\\", text)


@pytest.mark.slow
def test_the_notebook_runs_and_its_claims_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import json

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = committed()
    notebook.cells.append(nbformat.v4.new_code_cell(CHECK))
    # A failing cell raises here with its traceback.
    nbclient.NotebookClient(
        notebook, timeout=1200, kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute()  # fmt: skip
    result = json.loads(notebook.cells[-1].outputs[0].text)
    # The margin is large, because one validation clip is a point of UAR.
    assert result["fused_before"] < result["single_before"] - 0.05
    assert "scale_mismatch" in result["faults"]
    assert result["steps"][0] == "base" and len(result["steps"]) > 1
    assert result["val_after"] >= max(result["single_before"], result["single_after"])
    assert result["reports"] == [True, True]
    assert result["shapley"] == pytest.approx(result["uar"] - 1 / result["classes"], abs=1e-6)
    assert (tmp_path / "runs/repair_a_failing_fusion/repaired/repair.json").is_file()
