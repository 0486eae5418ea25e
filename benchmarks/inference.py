"""What several members cost, in training and as exact quantiles of their mixture: python benchmarks/inference.py.

Exit 1 where a bar is missed.
"""

import json
import sys
import time
from pathlib import Path

import torch
from torch import nn
from torch.distributions import Normal

from stgate.distributions import Mixture
from stgate.inference import Ensemble

MEMBERS = 16


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


def perceptron(width):
    return lambda: nn.Sequential(
        nn.Linear(40, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, 2)
    )


class Recurrent(nn.Module):
    """What cannot be vectorised."""

    def __init__(self):
        super().__init__()
        self.recurrence, self.head = nn.GRU(8, 32, batch_first=True), nn.Linear(32, 2)

    def forward(self, x):
        """(window, step, feature) -> (window, output)."""
        return self.head(self.recurrence(x)[0][:, -1])


def ensemble_step(build, x):
    """A training step of an ensemble, and what a loop over its members gives out."""
    torch.manual_seed(0)
    inference = Ensemble(MEMBERS)
    network = inference.wrap(build)
    optimizer = torch.optim.AdamW(network.parameters())

    def step():
        optimizer.zero_grad()
        loss = inference.mean_loss(network, [x], network, lambda _, made: made.square().mean())
        inference.objective(loss, network, 1).backward()
        inference.clip_gradients(network, 1.0)
        optimizer.step()

    return step, lambda: network(x).detach()


def loop_step(build, x):
    """The same of as many networks one after another, with one optimizer for all."""
    torch.manual_seed(0)
    networks = [build() for _ in range(MEMBERS)]
    optimizer = torch.optim.AdamW([p for network in networks for p in network.parameters()])

    def step():
        optimizer.zero_grad()
        for network in networks:
            network(x).square().mean().backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()

    return step, lambda: torch.stack([network(x) for network in networks]).detach()


def steps():
    """CPU time of a training step of 16 members over that of a loop, one thread; and how far the members come apart."""
    torch.set_num_threads(1)
    cases = {f"perceptron of width {w}, {rows} rows": (perceptron(w), torch.randn(rows, 40))
             for w in (64, 256) for rows in (64, 512, 4096)}  # fmt: skip
    cases["GRU of width 32, 64 windows of 24 steps"] = (Recurrent, torch.randn(64, 24, 8))
    found = {}
    for name, (build, x) in cases.items():
        (ours, made), (loop, expected) = ensemble_step(build, x), loop_step(build, x)
        ours(), loop()
        apart = float((made() - expected()).abs().max() / expected().abs().max())
        times = {ours: [], loop: []}
        for _ in range(30):
            for step, spent in times.items():
                started = time.process_time()
                step()
                spent.append(time.process_time() - started)
        found[name] = {"loop": min(times[loop]), "ratio": min(times[ours]) / min(times[loop]), "apart": apart}
    return found


def main():
    figures = {"steps": steps(), "quantiles": quantiles()}
    lines = [
        "# Inference",
        "",
        "`python benchmarks/inference.py`. CPU time of a training step of 16 members (forward, backward, gradients "
        "clipped for each, AdamW) over that of a loop over 16 networks, one thread; and how far members and networks "
        "have come apart after one step, as a share of the largest output. Bars: 1.05 and 1e-6.",
        "",
        "| network | loop, ms | ratio | apart |",
        "|---|---|---|---|",
        *(
            f"| {n} | {1000 * f['loop']:.1f} | {f['ratio']:.2f} | {f['apart']:.1e} |"
            for n, f in figures["steps"].items()
        ),
        "",
        "One quantile of 1,000,000 mixtures of 16 normals, two threads:",
        "",
        "| level | wall seconds | distribution function at the quantile, less the level, at most |",
        "|---|---|---|",
        *(f"| {level} | {f['seconds']:.2f} | {f['miss']:.1e} |" for level, f in figures["quantiles"].items()),
    ]
    results = Path(__file__).parent / "results"
    (results / "inference.json").write_text(json.dumps(figures, indent=1) + "\n")
    (results / "inference.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    slow = any(f["ratio"] > 1.05 or f["apart"] > 1e-6 for f in figures["steps"].values())
    return slow or any(f["seconds"] > 2 or f["miss"] > 1e-5 for f in figures["quantiles"].values())


if __name__ == "__main__":
    sys.exit(main())
