"""Cost of the convolutions of torch-geometric, beside the dense forms of this package.

CPU time of forward and backward, one thread, the median of rounds in turns: five layers of torch-geometric by
`stgate.nn.convolution.GraphConvolution`; the mixing of STH-SepNet (`MixProp`), its sums by a matrix and by bags of
neighbours; and the attention of CGLUBNF, which is that of GATv2Conv over gathered neighbours. 200 and 5,000 nodes with
10 neighbours each, batches of 8, 32 channels.
"""

import time

import numpy as np
import torch
import torch_geometric

from benchmarks.options import Findings, Options
from benchmarks.registry import benchmark
from benchmarks.tables import table
from stgate.nn.convolution import GraphConvolution
from stgate.nn.edges import EdgeList
from stgate.nn.field.graph_attention import GraphAttention
from stgate.nn.sepnet import neighbours
from stgate.nn.sepnet.mixing import MixProp, averages
from stgate.nn.sepnet.neighbours import Neighbours

NEIGHBOURS, BATCH, CHANNELS = 10, 8, 32
ROUNDS = {200: 30, 5000: 4}
LAYERS = {"GCNConv": {}, "GraphConv": {}, "GATv2Conv": {}, "TransformerConv": {}, "ChebConv": {"K": 3}}
"""ChebConv of order 3 looks as far as two hops of MixProp."""


def contenders(nodes):
    """Functions to time by name; each steps forward and backward."""
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

    def mixing(hops, matrix):
        mix, near = MixProp(CHANNELS, 1, hops), Neighbours(index, weight)

        def forward():
            neighbours.FEW, neighbours.MORE = nodes if matrix else -1, 0
            return mix(x, averages(near, both=False))

        return step(mix, forward)

    made = {"MixProp by a matrix, 1 hop": mixing(1, True), "MixProp by a matrix, 2 hops": mixing(2, True)}
    made |= {"MixProp by bags, 1 hop": mixing(1, False), "MixProp by bags, 2 hops": mixing(2, False)}
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


@benchmark(
    "convolution_cost",
    claim="CPU time of five convolutions of torch-geometric beside the dense forms, at 200 and 5,000 nodes",
    cost="2 minutes",
    quick="200 nodes",
    seeds=(0,),
    one_thread=True,
)
def run(options: Options):
    rounds = {200: ROUNDS[200]} if options.quick else ROUNDS
    found = {nodes: milliseconds(contenders(nodes), count) for nodes, count in rounds.items()}
    rows = ([name, *(f"{each[name]:.1f}" for each in found.values())] for name in found[200])
    lines = table(["CPU ms, forward and backward", *(f"{nodes:,} nodes" for nodes in found)], rows)
    return Findings("Cost of a convolution of torch-geometric", lines, {str(n): each for n, each in found.items()})
