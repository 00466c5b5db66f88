"""Effect of every balancer on a fusion that is known to fail (docs/results/comparison.md).

python benchmarks/known_answer.py [--seeds 5] [--strategy NAME] [BALANCER ...]
"""

from __future__ import annotations

import argparse
import statistics

import torch

from fusion.core.registry.registry import Registry
from fusion.testing import KnownAnswer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--strategy", help="default: a linear layer on the concatenated embeddings")
    parser.add_argument("balancers", nargs="*", help="names, or none; default: all balancers")
    options = parser.parse_args()
    torch.set_num_threads(1)
    registry = Registry()
    names = options.balancers or [entry.name for entry in registry.entries("balancer")]
    names = [name for name in names if name != "none"]
    strategy = {"strategy": registry.strategy(options.strategy)} if options.strategy else {}
    problems = [KnownAnswer(seed) for seed in range(options.seeds)]
    print("| training | accuracy % | fast branch | slow branch | seconds |")
    print("|---|---|---|---|---|")
    for modality in ("fast", "slow"):
        row(f"{modality} alone", [problem.alone(modality) for problem in problems])
    row("together, plain", [problem.fused(**strategy) for problem in problems])
    faster = {"lr": 3 * problems[0].config.lr}
    row("together, 3x lr", [problem.fused(**faster, **strategy) for problem in problems])
    for name in names:
        cls = registry.balancer(name)
        row(name, [problem.fused([cls()], **strategy) for problem in problems])


def row(name: str, outcomes: list) -> None:
    def percent(values: list[float]) -> str:
        spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
        return f"{100 * statistics.mean(values):.1f}{spread}"

    probes = [
        f"{100 * statistics.mean(o.probes[m] for o in outcomes):.1f}" if outcomes[0].probes else ""
        for m in ("fast", "slow")
    ]
    seconds = statistics.mean(o.seconds for o in outcomes)
    accuracy = percent([o.accuracy for o in outcomes])
    print(f"| {name} | {accuracy} | {probes[0]} | {probes[1]} | {seconds:.1f} |", flush=True)


if __name__ == "__main__":
    main()
