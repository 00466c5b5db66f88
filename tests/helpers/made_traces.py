"""An artificial trace."""

from __future__ import annotations

from fusion.core.registry.problems import Source
from fusion.core.registry.profile import IMPORT, MODULE, Key, Tally, Trace


def made_up() -> Trace:
    trace = Trace(seconds=10.0)
    rows = {
        (1, Key("train fold0/fused", "strategy", "tiny", "1", "forward")): (4, 2.0, 1.0, 0.9, 1, 5),
        (2, Key("train fold0/fused", "strategy", "tiny", "1", "forward")): (6, 3.0, 2.0, 1.2, 2, 9),
        (1, Key("check", "strategy", "tiny", "1", "adopt")): (1, 0.5, 0.5, 0.5, 0.5, 0.5),
        (1, Key("check", "remedy", "idle", "1", "__init__")): (1, 1e-6, 1e-6, 1e-6, 4, 4),
        (1, Key("", MODULE, "fusion-tiny:t", "", IMPORT)): (1, 0.25, 0.25, 0.25, 0, 0),
        (1, Key("", MODULE, "fusion-tiny:t", "", "fusion_strategies")): (1, 1e-5, 1e-5, 1e-5, 0, 0),
    }
    trace.rows = {row: Tally(*figures) for row, figures in rows.items()}
    trace.sources = {
        ("strategy", "tiny"): Source("t", "fusion-tiny", "1.2"),
        (MODULE, "fusion-tiny:t"): Source("t", "fusion-tiny", "1.2"),
    }
    trace.brought = {"fusion-tiny:t": ["scipy", "pandas", "torch", "sympy"]}
    return trace
