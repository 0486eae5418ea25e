"""Neighbour tables of a field: the stations that each place attends to, with distances and directions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from stgate.nn.field.network import FieldGeometry, Neighbourhood
from stgate.panels.geometry import Places, nearest, nearest_of


class Neighbourhoods:
    """Three neighbour tables: place -> training stations, station -> stations, and place -> observing places.

    A place is never its own neighbour in the last two. The tables of the last panel are kept: all its batches share
    them.

    Args:
        ground: The geometry of the training stations.
        names: Names of the coordinates of a place, which are its first static covariates.
        count: Number of neighbours of a place.
        features: Positions of the static covariates that the field sees; directions are given along the coordinates
            among these.
    """

    def __init__(self, ground: FieldGeometry, names: Sequence[str], count: int, features: Sequence[int]) -> None:
        self.ground, self.names, self.count, self.features = ground, tuple(names), count, list(features)
        self.axes = [i for i in self.features if i < len(self.names)]
        self._last: tuple[Tensor, Tensor, tuple[Neighbourhood, Neighbourhood, Neighbourhood]] | None = None

    def forget(self) -> None:
        """Drop the tables, after the geometry of the training stations has changed."""
        self._last = None

    def places(self, static: Tensor) -> Places:
        """Return the positions of places from their static covariates, (place, static)."""
        return Places.at(self.names, static[:, : len(self.names)].double().cpu().numpy())

    def of(self, static: Tensor, ever: Tensor) -> tuple[Neighbourhood, Neighbourhood, Neighbourhood]:
        """Return the three neighbour tables of a panel.

        Args:
            static: (place, static), the static covariates of the panel's places.
            ever: (place,), True if the place observes anything at any time of the panel.

        Returns:
            Place -> training stations, station -> stations, and place -> observing places; in the last two a place is
            never its own neighbour.
        """
        if self._last is None or not (same(self._last[0], static) and same(self._last[1], ever)):
            stations = self._join(self.ground.static)
            known = torch.equal(static, self.ground.static)
            sites = stations if known else self._join(static, self.ground.static)
            among = stations if known and bool(ever.all()) else self._join(static, ever=ever)
            self._last = static, ever, (sites, stations, among)
        return self._last[2]

    def _join(self, static: Tensor, stations: Tensor | None = None, ever: Tensor | None = None) -> Neighbourhood:
        """Find the nearest of some stations for each place; without stations the nearest other places."""
        places = self.places(static)
        if stations is not None:
            near, distance = self.places(stations).nearest_to(places, self.count)
        else:
            stations = static
            if ever is not None:
                near, distance = nearest_of(places, np.flatnonzero(ever.cpu().numpy()), self.count)
            elif len(static) > 1:
                near, distance = nearest(places, min(self.count, len(static) - 1))
            else:
                near, distance = nearest_of(places, np.arange(0), 0)
        index = torch.from_numpy(np.ascontiguousarray(near)).long().to(static.device)
        far = (torch.from_numpy(np.ascontiguousarray(distance)).to(static) / self.ground.typical).unsqueeze(-1)
        own, theirs = ((s - self.ground.center) / self.ground.scale for s in (static, stations))
        gap = theirs[index][..., self.axes] - own[:, None, self.axes]
        direction = gap / (gap.norm(dim=-1, keepdim=True) + 1e-6)
        edges = torch.cat([torch.log1p(far), torch.exp(-far), direction], -1)
        return Neighbourhood(torch.nan_to_num(own[:, self.features], nan=0.0), index, edges)


def same(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors hold the same; for one object without waiting for its device."""
    return one is other or (one.device == other.device and torch.equal(one, other))


def columns(x: Tensor, kept: Sequence[int]) -> Tensor:
    """Return some entries of the last axis, without a table of them on the device."""
    if list(kept) == list(range(x.shape[-1])):
        return x
    return torch.cat([x[..., i : i + 1] for i in kept], -1) if kept else x[..., :0]
