"""Lorenz's advection on a ring, on arrays with a halo of three rows."""

from __future__ import annotations

import numpy as np

from stgate.simulate.system import Array


class Ring:
    """Ring of sites in the rows `start` to `start + count + 3` of a stage, its halo filled from its other end.

    Slope of a site: near (forward - behind), where for a ring that runs `upwards` (X and Z) near, forward and behind
    are the sites k-1, k+1 and k-2, and for one that runs downwards (Y) the sites k+1, k-1 and k+2. Perturbations, if
    the array has an axis (1 + count) after its rows, follow the product rule.
    """

    def __init__(self, stage: Array, start: int, count: int, *, upwards: bool = True, tangent: bool = False) -> None:
        before = 2 if upwards else 1
        rows = slice(start + before, start + before + count)
        padded = stage[start : start + count + 3]
        self.rows, self.tangent = rows, tangent
        self.sites = stage[rows]
        self.first_halo, self.last_sites = padded[:before], padded[count : count + before]
        self.last_halo, self.first_sites = padded[count + before :], padded[before:3]
        low, high = padded[:count], padded[3:]
        self.behind, self.forward = (low, high) if upwards else (high, low)
        self.near = padded[1 : count + 1] if upwards else padded[2 : count + 2]
        self.work = np.empty_like(self.sites[:, 1:]) if tangent else None

    def advect(self, out: Array) -> None:
        """Write the advection of the sites into `out`."""
        self.first_halo[...] = self.last_sites
        self.last_halo[...] = self.first_sites
        np.subtract(self.forward, self.behind, out)
        if self.work is None:
            np.multiply(out, self.near, out)
            return
        difference = out[:, :1].copy()
        np.multiply(self.near[:, 1:], difference, self.work)
        np.multiply(out, self.near[:, :1], out)
        out[:, 1:] += self.work
