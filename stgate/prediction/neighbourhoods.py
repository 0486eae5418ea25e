"""Which stations a place of a field looks at, and how they lie from there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from stgate.nn.field.network import FieldGeometry, Neighbourhood
from stgate.panels.geometry import Places, nearest, nearest_of


class Neighbourhoods:
    """Places with those nearest to them. The last panel's are kept, since they are the same for all its batches.

    Args:
        ground: Where the field was fitted.
        names: Coordinates of a place, the first of what is known of it.
        count: How many neighbours a place has.
        features: Which of what is known of a place the field sees; directions are told along coordinates among these.
    """

    def __init__(self, ground: FieldGeometry, names: Sequence[str], count: int, features: Sequence[int]) -> None:
        self.ground, self.names, self.count, self.features = ground, tuple(names), count, list(features)
        self.axes = [i for i in self.features if i < len(self.names)]
        self._last: tuple[Tensor, Tensor, tuple[Neighbourhood, Neighbourhood, Neighbourhood]] | None = None

    def forget(self) -> None:
        """Look again, where the ground has changed."""
        self._last = None

    def places(self, static: Tensor) -> Places:
        """Where places are, by what is known of each (place, static)."""
        return Places.at(self.names, static[:, : len(self.names)].double().cpu().numpy())

    def of(self, static: Tensor, ever: Tensor) -> tuple[Neighbourhood, Neighbourhood, Neighbourhood]:
        """The places of a panel with the nearest stations of training, these with theirs, and the places among them.

        Among them a place looks at those only that observe anything in the panel, of which it is none itself.

        Args:
            static: (place, static), what is known of each place of a panel.
            ever: (place,), whether it observes anything at any time of the panel.
        """
        if self._last is None or not (torch.equal(self._last[0], static) and torch.equal(self._last[1], ever)):
            stations = self._join(self.ground.static)
            known = torch.equal(static, self.ground.static)
            sites = stations if known else self._join(static, self.ground.static)
            among = stations if known and bool(ever.all()) else self._join(static, ever=ever)
            self._last = static, ever, (sites, stations, among)
        return self._last[2]

    def _join(self, static: Tensor, stations: Tensor | None = None, ever: Tensor | None = None) -> Neighbourhood:
        """Places with the nearest of some stations, or of one another: then never themselves, even at one place."""
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
