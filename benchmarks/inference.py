"""Cost of several members: in training, and as exact quantiles of their mixture."""

import time

import torch
from torch import nn
from torch.distributions import Normal

from benchmarks.options import Findings, Options
from benchmarks.registry import benchmark
from benchmarks.tables import table
from benchmarks.timing import cpu_times
from stgate.distributions import Mixture
from stgate.inference import Ensemble
from stgate.inference.batch_loss import BatchLoss

MEMBERS = 16


def quantiles(count):
    """Wall seconds of one quantile of so many mixtures of 16 normals on two threads, and by how much it misses."""
    torch.set_num_threads(2)
    torch.manual_seed(0)
    components = Normal(2 * torch.randn(16, count), 0.2 + torch.rand(16, count), validate_args=False)
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
    """A network that cannot be vectorised."""

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
    with network.probing():  # decides whether members share a pass
        network(x)
    optimizer = torch.optim.AdamW(network.parameters())

    def step():
        optimizer.zero_grad()
        total = BatchLoss(network, network.parameters())
        for turn in total.turns():
            with turn:
                made = network(x)
                total.add(made.square().sum(), torch.tensor(made.numel()))
        inference.objective(total.mean(), network, 1).backward()
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


def steps(rounds):
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
        times = cpu_times({"ours": ours, "loop": loop}, rounds, warm_up=0)
        least = {who: min(seconds) for who, seconds in times.items()}
        found[name] = {"loop": least["loop"], "ratio": least["ours"] / least["loop"], "apart": apart}
    return found


@benchmark(
    "inference",
    claim="a step of 16 members costs at most 1.05 of a loop's CPU time; a million mixtures' quantiles take under 2 s",
    cost="5 minutes; two cores",
    quick="fewer rounds and mixtures",
    seeds=(0,),
)
def run(options: Options):
    count = 10**4 if options.quick else 10**6
    figures = {"steps": steps(3 if options.quick else 30), "quantiles": quantiles(count)}
    lines = table(
        ["network", "loop, ms", "ratio", "apart"],
        ([n, f"{1000 * f['loop']:.1f}", f"{f['ratio']:.2f}", f"{f['apart']:.1e}"] for n, f in figures["steps"].items()),
    )
    lines += ["", f"One quantile of {count:,} mixtures of 16 normals, two threads:", ""]
    lines += table(
        ["level", "wall seconds", "distribution function at the quantile, less the level, at most"],
        ([level, f"{f['seconds']:.2f}", f"{f['miss']:.1e}"] for level, f in figures["quantiles"].items()),
    )
    note = (
        "CPU time of a training step of 16 members (forward, backward, gradients "
        "clipped for each, AdamW) over that of a loop over 16 networks, one thread; and how far members and networks "
        "have come apart after one step, as a share of the largest output. Bars: 1.05 and 1e-6."
    )
    missed = [n for n, f in figures["steps"].items() if f["ratio"] > 1.05 or f["apart"] > 1e-6]
    missed += [f"quantile {n}" for n, f in figures["quantiles"].items() if f["seconds"] > 2 or f["miss"] > 1e-5]
    return Findings("Inference", lines, figures, note, missed)
