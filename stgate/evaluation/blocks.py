"""Blocks of a forecast: some origins in memory, read chunk by chunk from a store or from dask."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stgate._memory import memory_limit
from stgate.evaluation.plan import Plan, aligned
from stgate.evaluation.truth import Lookup
from stgate.io.safe.reading import reading

SHARE = 0.25
"""Share of half of the free memory that chunks may take, once read."""


@dataclasses.dataclass(frozen=True, eq=False)
class Block:
    """Values of successive origins.

    Attributes:
        start: Number of the first origin.
        quantiles: Quantiles over the plan's dims and `quantile`.
        mean: Means over the plan's dims, or of length one along some.
        truth: Observed values, likewise.
    """

    start: int
    quantiles: NDArray[np.floating]
    mean: NDArray[np.floating]
    truth: NDArray[np.floating]


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """Values of a forecast, which may lie in a store. It can be pickled where its arrays can.

    Attributes:
        forecast: The forecast or reconstruction.
        truth: Observed values to use in the place of the forecast's own; None uses those.
    """

    forecast: xr.Dataset
    truth: Lookup | None = None

    def blocks(self, plan: Plan, first: int = 0, end: int | None = None) -> Iterator[Block]:
        """Read blocks one after the other; no chunk is read twice where memory allows.

        Args:
            plan: The plan of the evaluation.
            first: Number of the first block.
            end: Number of the block after the last; None reads all.
        """
        values = self._values(plan)
        begin, last = first * plan.block, min((plan.blocks if end is None else end) * plan.block, plan.shape[0])
        start, left = begin, None
        for low, high in itertools.pairwise(_edges(values[plan.name], plan, begin, last)):
            read = self._read(values, plan, slice(low, high))
            while (stop := min(start + plan.block, last)) <= high and start < stop:
                some = [array[max(start - low, 0) : stop - low] for array in read]
                yield Block(start, *(some if left is None else map(np.concatenate, zip(left, some, strict=True))))
                start, left = stop, None
            left = [array[start - low :].copy() for array in read] if start < high else None

    def _values(self, plan: Plan) -> xr.Dataset:
        """Return the variables that are scored, over `init_time`, not yet read."""
        kinds = ("", "_mean") if self.truth is not None else ("", "_mean", "_truth")
        values = self.forecast[[f"{plan.name}{kind}" for kind in kinds]]
        values = values.drop_vars(list(values.coords))
        return values.rename(time="init_time") if "time" in values.dims else values

    def _read(self, values: xr.Dataset, plan: Plan, origins: slice) -> list[NDArray[np.floating]]:
        """Read quantiles, means and truth of some origins, over the plan's dims."""
        source = self.forecast.encoding.get("source")
        with reading(source, "forecast") if isinstance(source, str) else contextlib.nullcontext():
            part = values.isel(init_time=origins, missing_dims="ignore").load()
        count = range(*origins.indices(plan.shape[0]))
        quantiles = aligned(part[plan.name].variable, (*plan.dims, "quantile"))
        mean = aligned(part[f"{plan.name}_mean"].variable, plan.dims)
        if self.truth is None:
            truth = aligned(part[f"{plan.name}_truth"].variable, plan.dims)
        else:
            with reading("truth", "panel"):
                truth = aligned(xr.Variable(self.truth.dims, self.truth.read(origins)), plan.dims)
        whole = (len(count), *plan.shape[1:])
        made = [np.broadcast_to(quantiles, (*whole, len(plan.quantiles)))]
        for array, (slope, offset) in zip((mean, truth), plan.factors, strict=True):
            array = array if (slope, offset) == (1.0, 0.0) else array.astype("float64") * slope + offset
            made.append(np.broadcast_to(array, whole))
        return made


def _edges(variable: xr.DataArray, plan: Plan, begin: int, last: int) -> list[int]:
    """Return the numbers of origins at which reading stops: at the edges of chunks, but for chunks that are too large.

    Args:
        variable: The quantiles.
        plan: The plan of the evaluation.
        begin: Number of the first origin.
        last: Number of the origin after the last.
    """
    size = int(variable.variable.nbytes / max(plan.shape[0], 1)) or 1
    most = max(int(SHARE * memory_limit(None) / size), plan.block)
    stored = variable.encoding.get("chunks") or ()
    if sizes := variable.chunksizes.get("init_time"):
        found = np.cumsum(sizes)
    else:
        chunk = dict(zip(variable.dims, stored, strict=False)).get("init_time", plan.block)
        found = np.arange(chunk, plan.shape[0] + chunk, chunk)
    edges = [begin]
    for edge in [int(e) for e in found if begin < e < last] + [last]:
        while edge - edges[-1] > most:
            edges.append(edges[-1] + most)
        if edge - edges[-1] >= plan.block or edge == last:
            edges.append(edge)
    return edges
