"""Windows by gather beside a per-sample Dataset, and a panel larger than memory.

1. 207 nodes x 34,000 steps, 12 + 12, batch 64: samples a second of CPU time from `WindowData`, from a memory map, from
   a per-sample torch Dataset with the default collate, and of copying as many bytes, turn by turn in one process.
2. 2,000 nodes x 100,000 steps (800 MB) from a zarr store, 24 + 24, batch 64: peak memory of a process that serves an
   epoch in blocks, and samples a second beside one that holds the panel in memory, turn by turn (wall time, 2 cores).
"""

import tempfile
import time
from pathlib import Path

import numpy as np
import xarray as xr

from benchmarks.options import Findings, Options
from benchmarks.processes import call, peak_memory
from benchmarks.registry import benchmark
from benchmarks.tables import table

ROUNDS = 5
MEMORY = 30  # MB for the buffers of the large panel


def small_panel():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((34_000, 207)).astype("float32")
    values[rng.random(values.shape) < 0.08] = np.nan
    return xr.Dataset(
        {"speed": (("time", "node"), values)},
        {"time": np.datetime64("2012-03-01", "ns") + 300 * 10**9 * np.arange(34_000), "node": np.arange(207)},
    )


class PerSample:
    """A plain Dataset: a slice a sample, with all that a batch of ours holds, left to the default collate."""

    def __init__(self, series, origins, window, horizon):
        self.series, self.origins, self.window, self.horizon = series, origins, window, horizon

    def __len__(self):
        return len(self.origins)

    def __getitem__(self, index):
        series, (member, row) = self.series, self.origins[index].tolist()
        past, ahead = slice(row - self.window + 1, row + 1), slice(row + 1, row + 1 + self.horizon)
        return {
            "past": series.values[member, past],
            "since": series.since[member, past],
            "past_calendar": series.clock.calendar[past],
            "past_cell": series.clock.cell[past],
            "future": series.values[member, ahead, :, 1:],
            "future_calendar": series.clock.calendar[ahead],
            "future_cell": series.clock.cell[ahead],
            "time": series.clock.time[row - self.window + 1 : row + 1 + self.horizon],
            "target": series.values[member, ahead, :, :1],
            "origin": self.origins[index],
        }


def rate(loader, batches):
    """Samples a second of CPU time."""
    served, started = 0, time.process_time()
    for number, batch in enumerate(loader):
        served += len(batch["target"])
        if number + 1 == batches:
            break
    return served / (time.process_time() - started)


def gathering(rounds):
    import torch
    from torch.utils.data import DataLoader

    from stgate.data import WindowData

    torch.set_num_threads(1)
    panel = small_panel()
    options = {"targets": ["speed"], "window": 12, "horizon": 12, "batch_size": 64}
    with tempfile.TemporaryDirectory() as folder:
        panel.to_zarr(Path(folder) / "p.zarr", consolidated=False)
        data = WindowData(panel, **options)
        file = WindowData(Path(folder) / "p.zarr", **options, max_memory=20, memory_map=Path(folder) / "map")
        series = data.series
        sample = PerSample(series, data.train_dataloader().dataset.origins, 12, 12)
        values, since = series.values.flatten(), series.since.flatten()
        size = 64 * 36 * 207
        rows = torch.randint(34_000 - 24, (300, 64)).tolist()
        cut = [
            ([values[r * 207 : (r + 24) * 207] for r in some], [since[r * 207 : (r + 12) * 207] for r in some])
            for some in rows
        ]

        def same_bytes():  # the very stretches of 64 windows, cut beforehand
            for past_and_ahead, steps in cut:
                torch.cat(steps)
                yield {"target": torch.cat(past_and_ahead)[:64]}

        def one_piece():  # as many bytes from one place
            for some in rows:
                place = some[0] * 207 % (len(values) - size)
                yield {"target": values[place : place + size].clone()[:64]}

        contenders = {
            "stgate": data.train_dataloader,
            "stgate, memory map": file.train_dataloader,
            "per sample": lambda: DataLoader(sample, batch_size=64, shuffle=True),
            "copy": same_bytes,
            "copy of one piece": one_piece,
        }
        best = dict.fromkeys(contenders, 0.0)
        for _ in range(rounds):
            for name, make in contenders.items():
                best[name] = max(best[name], rate(make(), 300))
    return {name: round(value) for name, value in best.items()}


def write_large(path):
    import zarr

    group = zarr.open_group(path, mode="w", zarr_format=3)
    attributes = {"_FillValue": "AAAAAAAA+H8="}
    y = group.create_array(
        "y", shape=(100_000, 2_000), chunks=(250, 2_000), dtype="float32", dimension_names=("time", "node"),
        fill_value=float("nan"), attributes=attributes,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    for start in range(0, 100_000, 250):
        block = rng.standard_normal((250, 2_000), dtype=np.float32)
        block[rng.random(block.shape) < 0.05] = np.nan
        y[start : start + 250] = block
    for name, values in (("time", np.arange(100_000.0)), ("node", np.arange(2_000))):
        array = group.create_array(
            name, shape=values.shape, dtype=values.dtype, chunks=values.shape, dimension_names=(name,)
        )
        array[:] = values


def loader_of(path, how):
    """Batches of the large panel: in blocks by the windows themselves or by WindowData, or from memory."""
    if how == "blocks":  # without Lightning, which takes 180 MB by itself
        import torch

        from stgate.data.streaming import BatchNumbers, StoredSeries, StoredWindows
        from stgate.data.windows import part_origins
        from stgate.io.store import open_lazily
        from stgate.schema.spec import PanelSpec

        panel, train = open_lazily(path), (0, 97_000)
        spec = PanelSpec(("y",), tuple(range(2_000)), 1.0, "model", 24, 24)
        series = StoredSeries(panel, spec, train)
        origins = part_origins(series.observed, spec, train)
        windows = StoredWindows(series, origins, batch_size=64, max_memory=1e6 * MEMORY, seed=0)
        return torch.utils.data.DataLoader(windows, batch_size=None, sampler=BatchNumbers(len(windows)))
    from stgate.data import WindowData

    memory = MEMORY if how == "blocks, WindowData" else 1e5
    options = {"window": 24, "horizon": 24, "batch_size": 64, "split": [0.97, 0.01, 0.01, 0.01]}
    return WindowData(path, targets=["y"], **options, max_memory=memory).train_dataloader()


def serve(path, how):
    """Serve an epoch (in memory: a tenth of one); return samples a second and peak memory in MB."""
    import torch

    torch.set_num_threads(1)
    loader = loader_of(path, how)
    batches = len(loader) // 10 if how == "memory" else len(loader)
    served, started = 0, time.perf_counter()
    for number, batch in enumerate(loader):
        served += len(batch["target"])
        if number + 1 == batches:
            break
    seconds = time.perf_counter() - started
    return {"rate": served / seconds, "MB": peak_memory() / 1e6, "served": served}


def larger_than_memory():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.zarr"
        write_large(path)
        found = {"blocks": [], "blocks, WindowData": [], "memory": []}
        for _ in range(3):
            for how, runs in found.items():
                runs.append(call(serve, path, how))
    return {
        how: {"samples/s": round(max(r["rate"] for r in runs)), "MB": round(max(r["MB"] for r in runs))}
        for how, runs in found.items()
    }


@benchmark(
    "windows",
    claim="batches come 5 times as fast as from a per-sample Dataset; 800 MB of zarr are served below 500 MB",
    cost="10 minutes; 1 GB of disk, two cores",
    quick="one round from memory, nothing from zarr",
    seeds=(0,),
    one_thread=True,
)
def run(options: Options):
    figures = {"gather": gathering(1 if options.quick else ROUNDS)}
    gather = figures["gather"]
    speedup = gather["stgate"] / gather["per sample"]
    copying = gather["copy"] / gather["stgate"]
    piece = gather["copy of one piece"] / gather["stgate"]
    ways = ["stgate", "from a memory map", "a Dataset of samples", "copying the same bytes"]
    lines = [
        *table([*ways, "copying as many in one piece"], [[f"{rate:,}" for rate in gather.values()]]),
        "",
        f"{speedup:.1f} times the per-sample Dataset. A batch takes {copying:.2f} times as long as copying the same "
        f"stretches of memory, cut beforehand, and {piece:.2f} times as long as copying as many bytes in one piece.",
    ]
    missed = ["less than 5 times the per-sample Dataset"] if speedup < 5 else []
    missed += ["over 2 times as long as copying"] if copying > 2 else []
    if not options.quick:
        figures["larger than memory"] = large = larger_than_memory()
        share = large["blocks"]["samples/s"] / large["memory"]["samples/s"]
        lines += ["", "2,000 nodes x 100,000 steps of float32 (800 MB) from zarr, 24 + 24, batch 64:", ""]
        lines += table(
            ["how", "samples a second (wall)", "peak memory of the process, MB"],
            ([how, f"{f['samples/s']:,}", f["MB"]] for how, f in large.items()),
        )
        lines += ["", f"In blocks: {100 * share:.0f} % of the throughput in memory."]
        missed += ["500 MB or more"] if large["blocks"]["MB"] >= 500 else []
        missed += ["less than half the throughput in memory"] if share < 0.5 else []
    note = "207 nodes x 34,000 steps, 12 + 12, batch 64; samples a second of CPU time:"
    return Findings("Windows", lines, figures, note, missed)
