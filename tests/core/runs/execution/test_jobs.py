"""What trainings write of themselves; whole ones are tested through the command line."""

import io
import json

from fusion.core.runs.execution.jobs import _write_line


def test_an_undefined_figure_is_null_and_every_line_is_json():
    file = io.StringIO()
    _write_line(file, {"a": float("nan"), "b": float("inf"), "c": -float("inf"), "d": 0.5, "e": 1})

    def refuse(constant):
        raise AssertionError(constant)

    line = file.getvalue()
    assert line.endswith("\n")
    assert json.loads(line, parse_constant=refuse) == {"a": None, "b": None, "c": None,
                                                       "d": 0.5, "e": 1}  # fmt: skip
