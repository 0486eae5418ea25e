"""Locality: a ring, a row or a lattice cut into patches, each with the neighbours that a shared local model sees."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stgate.errors import RequestError
from stgate.schema.spec import PanelSpec


class Patches(nn.Module):
    """Patches of `patch` nodes along each direction, which see `halo` nodes beyond either edge.

    Nodes are a line in the order of the panel, or a lattice where the panel is one; the line is a ring, the lattice a
    torus, where the panel is periodic. Beyond an open edge there is nothing: zeros. With a patch of one node the local
    model is a convolution; with a patch of all nodes and no halo it is global.

    Args:
        spec: The panel's.
        patch: Nodes along each direction; it divides how many there are.
        halo: Nodes beyond either edge.

    Attributes:
        count: How many patches.
        size: Nodes in a patch.
        reach: Nodes that it sees, its own among them.
        shape: Of the lattice, or of the line.
        periodic: It has no edge.

    Raises:
        RequestError: Patches that do not fill the nodes, or a halo that meets itself.

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
                raise RequestError(
                    f"halo {halo}: {length} nodes have fewer neighbours; at most {(length - patch) // 2}"
                )
        nodes = np.arange(np.prod(shape)).reshape(shape)
        padded = np.pad(nodes, halo, "wrap") if spec.boundary == "periodic" else np.pad(nodes, halo, constant_values=-1)
        own, around = (_tiles(grid, patch, reach) for grid, reach in ((nodes, patch), (padded, patch + 2 * halo)))
        self.shape, self.periodic = tuple(shape), spec.boundary == "periodic"
        self.count, self.size, self.reach = len(own), own.shape[1], around.shape[1]
        self.straight = bool((own.ravel() == nodes.ravel()).all())
        self.open = bool((around < 0).any())
        around[around < 0] = nodes.size  # where a node of zeros is put
        # Not buffers: they are no one's to learn, and the same for all members of an ensemble.
        self.own, self.back = torch.from_numpy(own.ravel()), torch.from_numpy(np.argsort(own.ravel()))
        self.around = torch.from_numpy(around.ravel())

    def fold(self, x: Tensor) -> Tensor:
        """(..., node, channel) -> (..., patch, size * channel): what belongs to each patch."""
        x = x if self.straight else x.index_select(-2, self.own.to(x.device))
        return x.reshape(*x.shape[:-2], self.count, self.size * x.shape[-1])

    def unfold(self, x: Tensor) -> Tensor:
        """(..., patch, size * channel) -> (..., node, channel): the reverse."""
        x = x.reshape(*x.shape[:-2], self.count * self.size, x.shape[-1] // self.size)
        return x if self.straight else x.index_select(-2, self.back.to(x.device))

    def surround(self, x: Tensor) -> Tensor:
        """(..., node, channel) -> (..., patch, reach * channel): what each patch sees."""
        if self.reach == 1 and self.straight:
            return x
        if self.open:
            x = torch.cat([x, torch.zeros_like(x[..., :1, :])], -2)
        x = x.index_select(-2, self.around.to(x.device))
        return x.reshape(*x.shape[:-2], self.count, self.reach * x.shape[-1])


def _tiles(grid: NDArray[np.int64], patch: int, reach: int) -> NDArray[np.int64]:
    """(patch, node): windows of `reach` along each axis, `patch` apart."""
    windows = np.lib.stride_tricks.sliding_window_view(grid, (reach,) * grid.ndim)
    chosen = windows[(slice(None, None, patch),) * grid.ndim]
    return np.array(chosen).reshape(-1, reach**grid.ndim)
