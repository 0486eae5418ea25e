"""What several members cost: exact quantiles of mixtures: python benchmarks/inference.py."""

import json
import sys
import time
from pathlib import Path

import torch
from torch.distributions import Normal

from stgate.inference import Mixture


def quantiles():
    """Wall seconds of one quantile of a million mixtures of 16 normals on two threads, and by how much it misses."""
    torch.set_num_threads(2)
    torch.manual_seed(0)
    components = Normal(2 * torch.randn(16, 10**6), 0.2 + torch.rand(16, 10**6), validate_args=False)
    mixture, found = Mixture(components), {}
    for level in (0.5, 0.9, 0.975):
        times = []
        for _ in range(3):
            started = time.perf_counter()
            made = mixture.icdf(torch.tensor(level))
            times.append(time.perf_counter() - started)
        found[str(level)] = {"seconds": min(times), "miss": float((mixture.cdf(made) - level).abs().max())}
    return found


def main():
    figures = {"quantiles": quantiles()}
    lines = [
        "# Inference",
        "",
        "`python benchmarks/inference.py`. One quantile of 1,000,000 mixtures of 16 normals, two threads:",
        "",
        "| level | wall seconds | distribution function at the quantile, less the level, at most |",
        "|---|---|---|",
        *(f"| {level} | {f['seconds']:.2f} | {f['miss']:.1e} |" for level, f in figures["quantiles"].items()),
    ]
    results = Path(__file__).parent / "results"
    (results / "inference.json").write_text(json.dumps(figures, indent=1) + "\n")
    (results / "inference.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    return not all(f["seconds"] < 2 and f["miss"] < 1e-5 for f in figures["quantiles"].values())


if __name__ == "__main__":
    sys.exit(main())
