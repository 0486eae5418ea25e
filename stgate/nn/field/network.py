"""A field: a value at any time and place, from coordinates, covariates, the stations around and what they observed."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import elu

from stgate.nn.field.cglu import ActivationName, ChannelGatedUnit, MixedActivation, UnitLinear
from stgate.nn.field.fourier import TIME, FieldFeatures
from stgate.nn.field.graph_attention import GraphAttention
from stgate.nn.gates import GateName


@dataclasses.dataclass
class Neighbourhood:
    """Places and the stations near by.

    Attributes:
        static: (place, static), what is known of each, its coordinates first.
        near: (place, neighbour), the nearest stations.
        edges: (place, neighbour, edge), distance and direction to them.
    """

    static: Tensor
    near: Tensor
    edges: Tensor


@dataclasses.dataclass
class FieldInputs:
    """What a field sees, standardised, no NaN anywhere.

    Attributes:
        time: (time,), float64, steps since the training part began.
        elapsed: (time, 1), the same in units of the training part's length.
        which: (row,), the time of each row.
        place: (row,), which of the places each row is at.
        covariates: (row, covariate).
        sites: The places, and the stations of training that are nearest to each.
        stations: These stations, and those that are nearest to each of them.
        seen: (row, 1 + neighbour, 2 * (lag + 1) * target), what the place itself and its neighbours observed at this
            time and before, see `with_latest`; empty without context.
        seen_edges: (place, neighbour, edge), how these neighbours lie; they need not be stations of training.
    """

    time: Tensor
    elapsed: Tensor
    which: Tensor
    place: Tensor
    covariates: Tensor
    sites: Neighbourhood
    stations: Neighbourhood
    seen: Tensor
    seen_edges: Tensor


class FieldGeometry(nn.Module):
    """Where a field was fitted: its stations, and how coordinates are scaled.

    Args:
        stations: How many.
        static: Size of what is known of each.
    """

    static: Tensor
    center: Tensor
    scale: Tensor
    start: Tensor
    length: Tensor
    typical: Tensor

    def __init__(self, stations: int, static: int) -> None:
        super().__init__()
        self.register_buffer("static", torch.zeros(stations, static))
        self.register_buffer("center", torch.zeros(static))
        self.register_buffer("scale", torch.ones(static))
        self.register_buffer("start", torch.zeros((), dtype=torch.float64))
        self.register_buffer("length", torch.ones((), dtype=torch.float64))
        self.register_buffer("typical", torch.ones(()))


class FieldNetwork(nn.Module):
    """Fourier features, a graph encoder and context, then channel gated learning units and a linear read-out.

    Args:
        features: Degrees, seasons, interactions and times, see `FieldFeatures`.
        static: Size of a place's description.
        covariates: How many there are at each time and place.
        seen: Size of what one station observed; 0 without context.
        edge: Size of an edge's description.
        outputs: Locations, then other numbers, of each row.
        varying: How many of the outputs depend on the row; the others are numbers by themselves.
        width: Of the hidden layers.
        depth: How many.
        activation: See `stgate.nn.field.cglu.ACTIVATIONS`.
        gate: See `ChannelGatedUnit`.
        residual: See `ChannelGatedUnit`.
        graph: Size of the embedding of a place; 0 for no graph encoder.
        heads: Of attention.
        path: Knots of a learned path in time and its size, see `TemporalEmbedding`; no knots for none.
    """

    def __init__(
        self,
        features: dict[str, Any],
        *,
        static: int,
        covariates: int,
        seen: int,
        edge: int,
        outputs: int,
        varying: int,
        width: int,
        depth: int,
        activation: ActivationName,
        gate: bool,
        residual: GateName,
        graph: int,
        heads: int,
        path: tuple[int, int] = (0, 0),
    ) -> None:
        super().__init__()
        self.path = TemporalEmbedding(*path) if path[0] else None
        self.graph = StationEncoder(static, graph, edge, heads) if graph else None
        self.context = ContextEncoder(seen, width // 4, edge, heads) if seen else None
        more = (path[1] if path[0] else 0, graph, width // 4 if seen else 0)
        self.features = FieldFeatures(static, covariates, more=more, **features)
        self.activation = MixedActivation(1) if activation == "shared" else None
        sizes = [self.features.size, *[width] * depth]
        self.layers = nn.ModuleList(
            ChannelGatedUnit(before, after, activation, gate=gate, residual=residual)
            for before, after in itertools.pairwise(sizes)
        )
        self.out = UnitLinear(sizes[-1], varying)
        self.straight = nn.Linear(width // 4, varying) if seen else None
        self.constant = nn.Parameter(torch.zeros(outputs - varying)) if outputs > varying else None

    def forward(self, given: FieldInputs) -> Tensor:
        """(row, output)."""
        around = None if self.graph is None else self.graph(given.sites, given.stations)
        context = None if self.context is None else self.context(given.seen, given.seen_edges[given.place])
        path = None if self.path is None else self.path(given.elapsed)
        x = given.elapsed[:, : self.features.kinds.count(TIME)], given.sites.static, given.covariates
        h = self.features(given.time, x, given.which, given.place, (path, around, context))
        for layer in self.layers:
            h = layer(h, self.activation)
        made: Tensor = self.out(h)
        if self.straight is not None and context is not None:  # what is near is nearly the answer
            made = made + self.straight(context)
        if self.constant is not None:
            made = torch.cat([made, self.constant.expand(len(made), -1)], -1)
        return made


class TemporalEmbedding(nn.Module):
    """Learned values at knots in time, straight between them: what each time of the training part had for itself.

    Beyond the training part it is zero. So that this means that nothing is known, training makes it zero at random.

    Args:
        knots: Spread evenly over the training part.
        size: Numbers at each.
    """

    LEFT_OUT = 0.2
    """Share of the times in training at which it is zero."""

    def __init__(self, knots: int, size: int) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.zeros(knots, size))

    def forward(self, elapsed: Tensor) -> Tensor:
        """(time, 1), in units of the training part's length -> (time, size)."""
        last = len(self.values) - 1
        at = (elapsed * last).clamp(0, last)
        low = at.floor().long().squeeze(-1).clamp(max=max(last - 1, 0))
        share = at - low.unsqueeze(-1)
        made = (1 - share) * self.values[low] + share * self.values[(low + 1).clamp(max=last)]
        known = (elapsed >= 0) & (elapsed <= 1)
        if self.training:
            known = known & (torch.rand_like(elapsed) >= self.LEFT_OUT)
        return made * known


class StationEncoder(nn.Module):
    """An embedding of a place by two layers of attention: to its nearest stations, and through them to theirs.

    Args:
        static: Size of a place's description.
        outputs: Of the embedding.
        edge: Of an edge's description.
        heads: Of attention.
    """

    def __init__(self, static: int, outputs: int, edge: int, heads: int) -> None:
        super().__init__()
        self.first = GraphAttention(static, outputs, edge, heads)
        self.second = GraphAttention(outputs, outputs, edge, heads)
        self.own = nn.Linear(static, outputs)

    def forward(self, sites: Neighbourhood, stations: Neighbourhood) -> Tensor:
        """(place, outputs)."""
        around = self._once(stations, stations)
        made = around if sites is stations else self._once(sites, stations)
        return elu(made + self.second(made, around[sites.near], sites.edges))

    def _once(self, sites: Neighbourhood, stations: Neighbourhood) -> Tensor:
        near = stations.static[sites.near]
        return elu(self.own(sites.static) + self.first(sites.static, near, sites.edges))


def with_latest(values: Tensor) -> Tensor:
    """What a station observed, as `ContextEncoder` sees it: values, zero where missing, the latest of them, and masks.

    How far back the latest lies changes with the lead of a forecast and with every gap. So it is given in a place of
    its own, times 1 / (1 + its age in steps): it counts for less, the older it is. For its mask stands that factor.

    Args:
        values: (…, lag, target), the newest last, NaN where missing.

    Returns:
        (…, 2 * (lag + 1) * target).
    """
    lags = values.shape[-2]
    there = ~torch.isnan(values)
    steps = torch.arange(1, lags + 1, device=values.device, dtype=values.dtype).unsqueeze(-1)
    newest, at = (there * steps).max(-2, keepdim=True)
    fresh = (newest > 0) / (lags + 1 - newest)
    values = torch.nan_to_num(torch.cat([values, values.gather(-2, at) * fresh], -2), nan=0.0)
    masks = torch.cat([there, fresh], -2)
    return torch.cat([values.flatten(-2), masks.flatten(-2)], -1)


class ContextEncoder(nn.Module):
    """What the place itself and its nearest stations observed: as it is, by attention, and by means over distance.

    Both look at those stations only that observed anything. The means weigh them by learned powers of their distance,
    to begin with as inverse distance weighting does.

    Args:
        seen: Size of what one station observed.
        outputs: Of the encoding.
        edge: Size of an edge's description, the logarithm of the distance first.
        heads: Of attention; as many means.
    """

    def __init__(self, seen: int, outputs: int, edge: int, heads: int) -> None:
        super().__init__()
        self.own = nn.Linear(seen, outputs)
        self.attention = GraphAttention(seen, outputs, edge, heads)
        self.decay = nn.Parameter(torch.zeros(edge, heads))
        with torch.no_grad():
            self.decay[0] = -(2.0 ** torch.arange(heads))
        self.means = nn.Linear(heads * seen, outputs, bias=False)

    def forward(self, seen: Tensor, edges: Tensor) -> Tensor:
        """(row, 1 + neighbour, seen) and (row, neighbour, edge) -> (row, outputs)."""
        own, near = seen[:, 0], seen[:, 1:]
        there = near[..., near.shape[-1] // 2 :].amax(-1) > 0  # the second half says what is there
        share = (edges @ self.decay).masked_fill(~there.unsqueeze(-1), -1e9).softmax(1) * there.unsqueeze(-1)
        means = share.transpose(1, 2) @ near  # (row, head, seen)
        made: Tensor = self.own(own) + self.attention(own, near, edges, there) + self.means(means.flatten(1))
        return made
