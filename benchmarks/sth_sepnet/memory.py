"""Memory of a training step of STH-SepNet as nodes grow.

The default configuration, 12 steps in and ahead, batches of 4, three steps of training on random walks at random
places, each size in a process of its own; sums over neighbours need no matrix at any size, as by default from some 200
nodes on. Found are CPU seconds of the last step and the peak memory above that of a process that has only imported
all; it may not grow faster than the nodes.
"""

import time

from benchmarks.options import Findings, Options
from benchmarks.processes import call, peak_memory
from benchmarks.registry import benchmark
from benchmarks.tables import table

NODES, BATCH = (200, 1_000, 10_000), 4


def train(nodes):
    """Take three training steps in this process; return the last one's CPU seconds and the memory added, in MB."""
    import torch

    from benchmarks.sth_sepnet.cost import batch_of, ours
    from stgate.nn.sepnet import neighbours

    torch.set_num_threads(1)
    neighbours.FEW = neighbours.MORE = 0
    before = peak_memory()
    step = ours(*batch_of(nodes, BATCH))
    for _ in range(3):
        started = time.process_time()
        step()
    peak = peak_memory() - before
    return {"seconds": time.process_time() - started, "peak MB": peak / 1024**2}


@benchmark(
    "sth_sepnet_memory",
    claim="memory of a training step of STH-SepNet grows no faster than the nodes: 200, 1,000 and 10,000",
    cost="3 minutes",
    quick="200 and 1,000 nodes",
    seeds=(0,),
    one_thread=True,
)
def run(options: Options):
    sizes = NODES[: 2 if options.quick else None]
    found = {nodes: call(train, nodes) for nodes in sizes}
    rows = (
        [f"{nodes:,}", f"{f['seconds']:.2f}", f"{f['peak MB']:.0f}", f"{1024 * f['peak MB'] / nodes:.0f}"]
        for nodes, f in found.items()
    )
    lines = table(["nodes", "CPU s a step", "peak memory, MB", "KB a node"], rows)
    first, *_, last = (found[nodes]["peak MB"] / nodes for nodes in sizes)
    missed = ["memory grows faster than the nodes"] if last > first else []
    return Findings("Memory of a training step of STH-SepNet", lines, found, missed=missed)
