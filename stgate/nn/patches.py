"""Patches of a ring, a row or a lattice, each with the neighbours that a shared local model sees."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stgate.errors import RequestError
from stgate.schema.spec import PanelSpec


class Patches(nn.Module):
    """Patches of `patch` nodes along each direction, which see `halo` nodes beyond either edge.

    Nodes are a line in the order of the panel, or a lattice if the panel is one. A periodic line is a ring, a periodic
    lattice a torus. Beyond an open edge there are zeros. With a patch of one node the local model is a convolution;
    with a patch of all nodes and no halo it is global.

    Args:
        spec: Description of the panel.
        patch: Number of nodes of a patch along each direction; it must divide the panel's.
        halo: Number of nodes seen beyond either edge.

    Attributes:
        count: Number of patches.
        size: Number of nodes in a patch.
        reach: Number of nodes that a patch sees, its own included.
        shape: Number of nodes along each axis of the lattice, or of the line.
        periodic: True for a ring or a torus.

    Raises:
        RequestError: The patch does not divide the nodes, or the halo overlaps itself.

    References:
        Pathak et al. (2018), Model-free prediction of large spatiotemporally chaotic systems from data. Physical Review
        Letters 120, 024102 (the parallel architecture).
    """

    def __init__(self, spec: PanelSpec, patch: int = 1, halo: int = 0) -> None:
        super().__init__()
        shape = spec.lattice or (len(spec.nodes),)
        for length in shape:
            if patch < 1 or length % patch:
                raise RequestError(f"patch {patch}: must divide the {length} nodes")
            if patch + 2 * halo > length:
                raise RequestError(f"halo {halo}: must be at most {(length - patch) // 2} for {length} nodes")
        nodes = np.arange(np.prod(shape)).reshape(shape)
        padded = np.pad(nodes, halo, "wrap") if spec.boundary == "periodic" else np.pad(nodes, halo, constant_values=-1)
        own, around = (_tiles(grid, patch, reach) for grid, reach in ((nodes, patch), (padded, patch + 2 * halo)))
        self.shape, self.periodic = tuple(shape), spec.boundary == "periodic"
        self.count, self.size, self.reach = len(own), own.shape[1], around.shape[1]
        self.straight = bool((own.ravel() == nodes.ravel()).all())
        self.open = bool((around < 0).any())
        around[around < 0] = nodes.size  # the position of a node of zeros
        # Not buffers, which an ensemble stacks: they are the same for all members. `_apply` moves them.
        self.own, self.back = torch.from_numpy(own.ravel()), torch.from_numpy(np.argsort(own.ravel()))
        self.around = torch.from_numpy(around.ravel())

    def _apply(self, fn: Any, *rest: Any) -> Patches:  # noqa: ANN401 (of torch)
        for name in ("own", "back", "around"):
            setattr(self, name, fn(getattr(self, name)))
        return cast(Patches, super()._apply(fn, *rest))  # type: ignore[no-untyped-call]

    def fold(self, x: Tensor) -> Tensor:
        """Gather the nodes of each patch: (..., node, channel) to (..., patch, size * channel)."""
        x = x if self.straight else x.index_select(-2, self.own)
        return x.reshape(*x.shape[:-2], self.count, self.size * x.shape[-1])

    def unfold(self, x: Tensor) -> Tensor:
        """Reverse `fold`: (..., patch, size * channel) to (..., node, channel)."""
        x = x.reshape(*x.shape[:-2], self.count * self.size, x.shape[-1] // self.size)
        return x if self.straight else x.index_select(-2, self.back)

    def surround(self, x: Tensor) -> Tensor:
        """Gather the nodes that each patch sees: (..., node, channel) to (..., patch, reach * channel)."""
        if self.reach == 1 and self.straight:
            return x
        if self.open:
            x = torch.cat([x, torch.zeros_like(x[..., :1, :])], -2)
        x = x.index_select(-2, self.around)
        return x.reshape(*x.shape[:-2], self.count, self.reach * x.shape[-1])


def _tiles(grid: NDArray[np.int64], patch: int, reach: int) -> NDArray[np.int64]:
    """Cut windows of `reach` nodes along each axis, `patch` apart: (patch, node)."""
    windows = np.lib.stride_tricks.sliding_window_view(grid, (reach,) * grid.ndim)
    chosen = windows[(slice(None, None, patch),) * grid.ndim]
    return np.array(chosen).reshape(-1, reach**grid.ndim)
