"""Moving-block bootstrap of sums: arrays in, arrays out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stgate._memory import free_memory, size_text
from stgate.errors import RequestError

DRAWS = 2**18
"""Draws that are counted at once."""
MEANS = 2**23
"""Resampled means that are held at once."""


def check_room(samples: int, count: int, block: int, outputs: int) -> None:
    """Refuse a bootstrap that needs more memory than there is.

    Args:
        samples: Number of resamples.
        count: Number of entries from which blocks are drawn.
        block: Number of entries in a block.
        outputs: Number of means.

    Raises:
        RequestError: It does not fit into memory.
    """
    needed = samples * (16 * -(-count // block) + 32 * max(min(outputs, MEANS // samples), 1))
    room = free_memory()
    if room is not None and needed > 0.8 * room:
        raise RequestError(
            f"samples {samples}: take {size_text(needed)} and {size_text(room)} of memory are free; choose fewer"
        )


def resampled_bounds(
    total: NDArray[np.float64],
    weight: NDArray[np.float64],
    *,
    block: int,
    samples: int,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bounds of the ratio of two sums over the first axis, from resamples of blocks of its entries.

    Args:
        total: Sums of weighted values of each entry, (entry, output).
        weight: Sums of weights, of the same shape.
        block: Number of entries in a block.
        samples: Number of resamples.
        seed: Seed of the random draws.
        level: Nominal coverage of the interval.

    Returns:
        Lower and upper bounds, (output,); NaN where all weights are zero.
    """
    count, outputs = total.shape
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, count - block + 1, (samples, -(-count // block)))
    tails = [(1 - level) / 2, (1 + level) / 2]
    bounds = np.empty((2, outputs))
    width = max(MEANS // samples, 1)
    for first in range(0, outputs, width):
        part = slice(first, first + width)
        means = _means(np.ascontiguousarray(total[:, part]), np.ascontiguousarray(weight[:, part]), starts, block)
        unseen = weight[:, part].sum(0) == 0
        means[:, unseen] = 0.0
        gaps = np.asarray(np.isnan(means).any(0))  # some resamples have no observation; these columns take numpy a loop
        found = np.empty((2, len(gaps)))
        with np.errstate(invalid="ignore"):  # of infinite means
            found[:, ~gaps] = np.quantile(means[:, ~gaps], tails, axis=0)
            found[:, gaps] = np.nanquantile(means[:, gaps], tails, axis=0)
        bounds[:, part] = np.where(unseen, np.nan, found)
    return bounds[0], bounds[1]


def _means(
    total: NDArray[np.float64], weight: NDArray[np.float64], starts: NDArray[np.int64], block: int
) -> NDArray[np.float64]:
    """Return the means of each resample, (sample, output)."""
    count, samples = len(total), len(starts)
    means = np.empty((samples, total.shape[1]))
    rows = max(DRAWS // count, 1)
    for first in range(0, samples, rows):
        some = starts[first : first + rows]
        drawn = (some[..., None] + np.arange(block)).reshape(len(some), -1)[:, :count]
        drawn += count * np.arange(len(some))[:, None]
        times = np.bincount(drawn.ravel(), minlength=len(some) * count).reshape(len(some), count).astype("float64")
        with np.errstate(invalid="ignore", divide="ignore"):
            means[first : first + rows] = (times @ total) / (times @ weight)
    return means
