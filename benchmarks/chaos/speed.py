"""Cost of a roll-out and of a training step.

The roll-out is that of the configuration that meets the bar on Lorenz-96, F=8: 100 starts, 1,000 steps, beside the
same network called step by step as a module, and beside its matrix products alone. The training step is that of a
node-shared LSTM, and of the gated recurrent highway, beside `torch.nn.LSTM` of the same size on the same sequences.
CPU time of one thread, the least of several rounds taken in turns.
"""

import itertools

import torch
from torch import nn

import stgate
from benchmarks.chaos.fitting import forecaster
from benchmarks.chaos.systems import SYSTEMS
from benchmarks.options import Findings, Options
from benchmarks.registry import benchmark
from benchmarks.tables import table
from benchmarks.timing import cpu_times
from stgate.models import GatedRNN
from stgate.nn import RollOut

STARTS, STEPS, ROUNDS = 100, 1000, 5


def seconds(contenders, rounds):
    """Return the least CPU seconds of each, after one round to warm up."""
    return {name: min(spent) for name, spent in cpu_times(contenders, rounds).items()}


def roll_out(steps, rounds):
    """Return the CPU seconds of so many steps from 100 starts."""
    system = SYSTEMS["l96-8"]
    panel = stgate.simulate.lorenz96(
        nodes=40, forcing=8.0, duration=2, step=0.01, every=5, members=STARTS, seed=3, verify=False
    )
    data = stgate.data.WindowData(panel, targets=["x"], window=1, horizon=20, train_horizon=4)
    model = forecaster(system)
    model.adopt(data)
    model.eval()
    batch = next(iter(data.part_dataloader("train")))
    count = len(batch["origin"])
    batch = {n: v if n == "static" else v.repeat(2, *[1] * (v.dim() - 1))[:STARTS] for n, v in batch.items()}
    assert count >= STARTS // 2
    network, inputs = model.predictor.built, model.predictor.scaler(batch)
    transition = network.transition

    def fused():
        with torch.no_grad():
            return next(itertools.islice(network.run(inputs), steps - 1, None))

    def naive():
        """Roll out by a loop that calls the step's module, as it is trained."""
        with torch.no_grad():
            now = inputs.values[:, -1, :, :1]
            for _ in range(steps):
                field, _ = transition(now)
                now = field

    rows, width = STARTS * 40, transition.seen.out_features
    patch = torch.randn(rows, transition.seen.in_features)
    hidden = torch.randn(rows, width)
    entry, inwards = torch.randn(transition.seen.in_features, width), torch.randn(width, 2 * width)
    outwards, last = torch.randn(width, width), torch.randn(width, 1)
    evaluations = 4 * transition.substeps
    rooms = [torch.empty(rows, n) for n in (width, 2 * width, width, 1)]

    def products():
        for _ in range(steps * evaluations):
            torch.mm(patch, entry, out=rooms[0])
            for _ in transition.layers:
                torch.mm(hidden, inwards, out=rooms[1])
                torch.mm(hidden, outwards, out=rooms[2])
            torch.mm(hidden, last, out=rooms[3])

    return seconds({"roll-out": fused, "module loop": naive, "matrix products": products}, rounds)


def training_steps(rounds, nodes=40, batch=64, window=24, hidden=64):
    """Seconds of a training step: forward, backward and optimizer."""
    panel = stgate.simulate.lorenz96(nodes=nodes, duration=20, step=0.01, every=5, members=2, seed=1, verify=False)
    data = stgate.data.WindowData(panel, targets=["x"], window=window, horizon=1, batch_size=batch)
    given = next(iter(data.train_dataloader()))
    x, y = torch.randn(batch * nodes, window, hidden), torch.randn(batch * nodes, hidden)

    def bare(layer):
        head = nn.Linear(hidden, hidden)
        optimizer = torch.optim.Adam([*layer.parameters(), *head.parameters()])

        def step():
            optimizer.zero_grad()
            (head(layer(x)[0][:, -1]) - y).square().mean().backward()
            optimizer.step()

        return step

    def ours(model):
        model.adopt(data)
        model.log = lambda *_, **__: None
        optimizer = torch.optim.Adam(model.parameters())

        def step():
            optimizer.zero_grad()
            model.training_step(given, 0).backward()
            optimizer.step()

        return lambda: [step() for _ in range(3)]

    plain = bare(nn.LSTM(hidden, hidden, batch_first=True))
    contenders = {
        "bare nn.LSTM": lambda: [plain() for _ in range(3)],
        "node-shared LSTM": ours(GatedRNN(hidden=hidden, cell="lstm", linear=False)),
        "gated RHN, depth 2": ours(GatedRNN(hidden=hidden, cell="rhn", depth=2, linear=False)),
        "gated RHN, depth 3": ours(GatedRNN(hidden=hidden, cell="rhn", depth=3, linear=False)),
        "LSTM with a roll-out": ours(GatedRNN(hidden=hidden, cell="lstm", rollout=RollOut(unroll=1))),
    }
    return seconds(contenders, rounds)


@benchmark(
    "chaos_speed",
    claim="a roll-out costs at most twice its matrix products; a step of the LSTM 1.25, of the RHN 4 times nn.LSTM's",
    cost="10 minutes",
    quick="one round of a roll-out of 100 steps",
    seeds=(1, 3),
    one_thread=True,
)
def run(options: Options):
    steps, rounds = (100, (1, 1)) if options.quick else (STEPS, (3, ROUNDS))
    rolled, trained = roll_out(steps, rounds[0]), training_steps(rounds[1])
    products, bare = rolled["matrix products"], trained["bare nn.LSTM"]
    lines = [
        f"Roll-out of {STARTS} starts by {steps} steps (Lorenz-96, F=8, N=40, the configuration that meets the bar):",
        "",
        *table(
            ["", "seconds", "of its matrix products (bar 2)"],
            ([name, f"{value:.2f}", f"{value / products:.2f}"] for name, value in rolled.items()),
        ),
        "",
        "Three training steps, 64 windows of 24 steps of 40 nodes, 64 channels (the defaults):",
        "",
        *table(
            ["", "seconds", "of a bare nn.LSTM (bars: LSTM 1.25, RHN 4)"],
            ([name, f"{value:.3f}", f"{value / bare:.2f}"] for name, value in trained.items()),
        ),
    ]
    missed = ["the roll-out"] if rolled["roll-out"] > 2 * products else []
    missed += ["the node-shared LSTM"] if trained["node-shared LSTM"] > 1.25 * bare else []
    missed += ["the gated RHN"] if trained["gated RHN, depth 2"] > 4 * bare else []
    title, note = "What a roll-out and a training step cost", f"CPU seconds of one thread, torch {torch.__version__}."
    return Findings(title, lines, {"roll_out": rolled, "training": trained}, note, missed)
