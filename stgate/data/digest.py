"""Digest of a panel's values: the same for a panel in memory and one that is read in blocks."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from stgate.data.streaming import StoredSeries
    from stgate.data.windows import Series


def add_rows(hashed: Any, values: Tensor) -> None:  # noqa: ANN401 (hashlib has no name for it)
    """Add the values of some rows to a hash, row by row.

    Args:
        hashed: A hash.
        values: (member, time, node, channel).
    """
    plain = values.masked_fill(torch.isnan(values), torch.nan)  # a NaN has many forms
    hashed.update(plain.transpose(0, 1).contiguous().numpy())


def digest_of(series: Series | StoredSeries) -> str:
    """Return digits that differ as soon as a value of a panel does, the same in memory as in a store.

    Args:
        series: The panel.
    """
    if "digest" in vars(series):  # a store's is made as it is read
        made: str = vars(series)["digest"]
        return made
    hashed = hashlib.blake2b(digest_size=8)
    for start, stop in series.blocks(0, series.values.shape[1]):
        add_rows(hashed, series.read(start, stop))
    return hashed.hexdigest()
