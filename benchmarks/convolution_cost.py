"""What a convolution of torch-geometric costs, beside the dense forms of this package.

    python benchmarks/convolution_cost.py

CPU time of forward and backward, one thread, the median of rounds in turns: five layers of torch-geometric by
`stgate.nn.convolution.GraphConvolution`; the mixing of STH-SepNet (`MixProp`), its sums by a matrix and by gathers over
neighbours; and the attention of CGLUBNF, which is that of GATv2Conv over gathered neighbours. 200 and 5,000 nodes with
10 neighbours each, batches of 8, 32 channels.
"""

import json
import os
import subprocess
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import torch_geometric

from stgate.nn.convolution import GraphConvolution
from stgate.nn.edges import EdgeList
from stgate.nn.field.graph_attention import GraphAttention
from stgate.nn.sepnet import neighbours
from stgate.nn.sepnet.mixing import MixProp, averages
from stgate.nn.sepnet.neighbours import Neighbours

RESULTS = Path(__file__).parent / "results"
NEIGHBOURS, BATCH, CHANNELS = 10, 8, 32
ROUNDS = {200: 30, 5000: 4}
LAYERS = {"GCNConv": {}, "GraphConv": {}, "GATv2Conv": {}, "TransformerConv": {}, "ChebConv": {"K": 3}}
"""ChebConv of order 3 looks as far as two hops of MixProp."""


def contenders(nodes):
    """What is timed: a name, and a function that steps forward and backward."""
    torch.manual_seed(0)
    index = torch.stack([torch.randperm(nodes)[:NEIGHBOURS] for _ in range(nodes)])
    weight = torch.rand(nodes, NEIGHBOURS)
    target = torch.arange(nodes).repeat_interleave(NEIGHBOURS)
    edges = EdgeList(torch.stack([index.flatten(), target]), weight.flatten())
    x = torch.randn(nodes, BATCH, CHANNELS, requires_grad=True)

    def step(layer, forward):
        def run():
            x.grad = None
            layer.zero_grad()
            forward().square().sum().backward()

        return run

    def dense(hops, most):
        mix, near = MixProp(CHANNELS, 1, hops), Neighbours(index, weight)

        def forward():
            neighbours.DENSE = most
            return mix(x, averages(near, both=False))

        return step(mix, forward)

    made = {"MixProp by a matrix, 1 hop": dense(1, nodes), "MixProp by a matrix, 2 hops": dense(2, nodes)}
    made |= {"MixProp by gathers, 1 hop": dense(1, 0), "MixProp by gathers, 2 hops": dense(2, 0)}
    attention = GraphAttention(CHANNELS, CHANNELS, 1, 1)
    rows = index.unsqueeze(-1) * BATCH + torch.arange(BATCH)  # (node, neighbour, batch)

    def attend():
        near = x.flatten(0, 1)[rows.transpose(1, 2)]
        return attention(x, near, weight[:, None, :, None])

    made["GraphAttention by gathers"] = step(attention, attend)
    for name, options in LAYERS.items():
        layer = GraphConvolution(f"torch_geometric.nn.{name}", CHANNELS, options)
        made[name] = step(layer, lambda layer=layer: layer(x, edges, dim=0))
        if "heads" in torch_geometric.nn.__dict__[name].__init__.__code__.co_varnames:
            four = GraphConvolution(f"torch_geometric.nn.{name}", CHANNELS, options | {"heads": 4})
            made[f"{name}, 4 heads"] = step(four, lambda layer=four: layer(x, edges, dim=0))
    return made


def milliseconds(steps, rounds):
    """CPU time of each, the median of rounds, after one to warm up."""
    spent = {name: [] for name in steps}
    for _ in range(rounds + 1):
        for name, step in steps.items():
            started = time.process_time()
            step()
            spent[name].append(time.process_time() - started)
    return {name: round(1e3 * float(np.median(found[1:])), 2) for name, found in spent.items()}


def main():
    torch.set_num_threads(1)
    folder = Path(__file__).parent
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True).stdout.strip()
    found = {nodes: milliseconds(contenders(nodes), rounds) for nodes, rounds in ROUNDS.items()}
    lines = [
        "# What a convolution of torch-geometric costs",
        "",
        f"`python benchmarks/convolution_cost.py` at commit {commit[:12]}; CPU ms of forward and backward, one thread, "
        f"torch {torch.__version__}, torch-geometric {torch_geometric.__version__}; {NEIGHBOURS} neighbours a node, "
        f"batches of {BATCH}, {CHANNELS} channels.",
        "",
        f"| | {' | '.join(f'{nodes:,} nodes' for nodes in found)} |",
        f"|---|{'---|' * len(found)}",
        *(f"| {name} | {' | '.join(f'{each[name]:.1f}' for each in found.values())} |" for name in found[200]),
    ]
    print("\n".join(lines))
    kept = {"commit": commit, "torch": torch.__version__, "torch_geometric": torch_geometric.__version__}
    kept |= {"milliseconds": {str(nodes): each for nodes, each in found.items()}}
    (RESULTS / "convolution_cost.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (RESULTS / "convolution_cost.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
