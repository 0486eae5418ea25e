"""What a roll-out and a training step cost: python benchmarks/chaos/speed.py.

The roll-out is that of the configuration that meets the bar on Lorenz-96, F=8: 100 starts, 1,000 steps, beside the
same network called step by step as a module, and beside its matrix products alone. The training step is that of a
node-shared LSTM, and of the gated recurrent highway, beside `torch.nn.LSTM` of the same size on the same sequences.
CPU time of one thread, the least of several rounds taken in turns.
"""

import itertools
import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from fitting import forecaster
from systems import SYSTEMS
from torch import nn

import stgate
from stgate.models import GatedRNN
from stgate.nn import RollOut

STARTS, STEPS, ROUNDS = 100, 1000, 5
RESULTS = Path(__file__).parent.parent / "results"


def seconds(contenders, rounds=ROUNDS):
    """Least CPU seconds of each, after one round to warm up."""
    least = {}
    for round_ in range(rounds + 1):
        for name, function in contenders.items():
            started = time.process_time()
            function()
            spent = time.process_time() - started
            if round_:
                least[name] = min(least.get(name, spent), spent)
    return least


def roll_out():
    """Seconds of 1,000 steps from 100 starts."""
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
            return next(itertools.islice(network.run(inputs), STEPS - 1, None))

    def naive():
        """A loop that calls the step's module, as it is trained."""
        with torch.no_grad():
            now = inputs.values[:, -1, :, :1]
            for _ in range(STEPS):
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
        for _ in range(STEPS * evaluations):
            torch.mm(patch, entry, out=rooms[0])
            for _ in transition.layers:
                torch.mm(hidden, inwards, out=rooms[1])
                torch.mm(hidden, outwards, out=rooms[2])
            torch.mm(hidden, last, out=rooms[3])

    return seconds({"roll-out": fused, "module loop": naive, "matrix products": products}, 3)


def training_steps(nodes=40, batch=64, window=24, hidden=64):
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
        "node-shared LSTM": ours(GatedRNN(hidden=hidden, cell="lstm")),
        "gated RHN, depth 2": ours(GatedRNN(hidden=hidden, cell="rhn", depth=2)),
        "gated RHN, depth 3": ours(GatedRNN(hidden=hidden, cell="rhn", depth=3)),
        "LSTM with a roll-out": ours(GatedRNN(hidden=hidden, cell="lstm", rollout=RollOut(unroll=1))),
    }
    return seconds(contenders)


def main():
    """Print the table, write the results; exit 1 where a bar is missed."""
    rolled, trained = roll_out(), training_steps()
    products, bare = rolled["matrix products"], trained["bare nn.LSTM"]
    lines = [
        "# What a roll-out and a training step cost",
        "",
        f"`python benchmarks/chaos/speed.py`; CPU seconds of one thread, torch {torch.__version__}.",
        "",
        f"Roll-out of {STARTS} starts by {STEPS} steps (Lorenz-96, F=8, N=40, the configuration that meets the bar):",
        "",
        "| | seconds | of its matrix products (bar 2) |",
        "|---|---|---|",
        *(f"| {name} | {value:.2f} | {value / products:.2f} |" for name, value in rolled.items()),
        "",
        "Three training steps, 64 windows of 24 steps of 40 nodes, 64 channels (the defaults):",
        "",
        "| | seconds | of a bare nn.LSTM (bars: LSTM 1.25, RHN 4) |",
        "|---|---|---|",
        *(f"| {name} | {value:.3f} | {value / bare:.2f} |" for name, value in trained.items()),
        "",
    ]
    print("\n".join(lines))
    (RESULTS / "chaos_speed.md").write_text("\n".join(lines))
    (RESULTS / "chaos_speed.json").write_text(json.dumps({"roll_out": rolled, "training": trained}, indent=1) + "\n")
    missed = rolled["roll-out"] > 2 * products or trained["node-shared LSTM"] > 1.25 * bare
    sys.exit(int(missed or trained["gated RHN, depth 2"] > 4 * bare))


if __name__ == "__main__":
    main()
