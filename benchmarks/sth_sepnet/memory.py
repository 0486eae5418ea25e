"""Memory of a training step of STH-SepNet as nodes grow: python benchmarks/sth_sepnet/memory.py.

The default configuration, 12 steps in and ahead, batches of 4, three steps of training on random walks at random
places, each size in a process of its own; sums over neighbours are gathered at every size, as they are by default from
700 nodes on. Prints CPU seconds of the last step and the peak memory above that of a process that has only imported
all; exits 1 where it grows faster than the nodes.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

from kept import record

NODES, BATCH = (200, 1_000, 10_000), 4


def child(nodes):
    import torch
    from cost import batch_of, ours

    from stgate.nn.sepnet import neighbours

    torch.set_num_threads(1)
    neighbours.DENSE = 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step = ours(*batch_of(nodes, BATCH))
    for _ in range(3):
        started = time.process_time()
        step()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps({"seconds": time.process_time() - started, "peak MB": peak / 1024}))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        return child(given.child)
    found, lines = {}, ["| nodes | CPU s a step | peak memory, MB | KB a node |", "|---|---|---|---|"]
    for nodes in NODES:
        command = [sys.executable, "-W", "ignore", __file__, "--child", str(nodes)]
        made = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        found[nodes] = json.loads(made.stdout.splitlines()[-1])
        peak = found[nodes]["peak MB"]
        lines.append(f"| {nodes:,} | {found[nodes]['seconds']:.2f} | {peak:.0f} | {1024 * peak / nodes:.0f} |")
    print("\n".join(lines))
    heading = ["# Memory of a training step of STH-SepNet", "", "`python benchmarks/sth_sepnet/memory.py`", ""]
    record("sth_sepnet_memory", [*heading, *lines], found)
    first, *_, last = (found[nodes]["peak MB"] / nodes for nodes in NODES)
    raise SystemExit(int(last > first))


if __name__ == "__main__":
    main()
