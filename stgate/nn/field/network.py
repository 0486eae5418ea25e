"""Neural field: a value at any time and place, from coordinates, covariates, nearby stations and their observations."""

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
    """Places and their nearest stations.

    Attributes:
        static: Static features of each place, (place, static), its coordinates first.
        near: Indices of the nearest stations, (place, neighbour).
        edges: Distance and direction to these stations, (place, neighbour, edge).
    """

    static: Tensor
    near: Tensor
    edges: Tensor


@dataclasses.dataclass
class FieldInputs:
    """Inputs of a field, standardised, without NaN.

    Attributes:
        time: Times in steps since the start of the training part, (time,), float64.
        elapsed: Times in units of the training part's length, (time, 1).
        which: Index of each row's time, (row,).
        place: Index of each row's place, (row,).
        covariates: Covariates of each row, (row, covariate).
        sites: Places, with the training stations nearest to each.
        stations: Training stations, with the training stations nearest to each.
        seen: Values up to the row's time, observed by the place itself and its neighbours, (row, 1 + neighbour,
            2 * (lag + 1) * target): lags, the latest value, and masks of both; empty without context.
        seen_edges: Distance and direction to these neighbours, (place, neighbour, edge); they can be other stations
            than those of training. With kriging one for each row, (row, neighbour, edge).
        kriged: Features of the kriging of each row, (row, feature); None without kriging.
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
    kriged: Tensor | None = None


class FieldGeometry(nn.Module):
    """Geometry of the training data of a field: its stations, and the scales of coordinates and time.

    Args:
        stations: Number of training stations.
        static: Number of static features of a station.
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
    """Network of a field: Fourier features, graph encoder and context, then gated units and a linear read-out.

    Args:
        features: Options `degrees`, `seasons`, `interactions` and `times` of the Fourier features.
        static: Number of static features of a place.
        covariates: Number of covariates of a time and place.
        seen: Number of context features of one station; 0 without context.
        edge: Number of features of an edge.
        outputs: Number of outputs of a row, the locations first.
        varying: Number of outputs that depend on the row; the others are learned constants.
        width: Number of channels of the hidden layers.
        depth: Number of hidden layers.
        activation: Sharing of the activation's learned weight: `shared` by all layers, one a `layer`, one a `channel`,
            or `fixed` at a half.
        gate: Multiply each channel of a layer by a gate.
        residual: Gate of `stgate.nn.gates` that combines the input and output of a layer; `none` for no residual.
        graph: Number of channels of the embedding of a place; 0 for no graph encoder.
        heads: Number of attention heads.
        path: Number of knots of a learned temporal embedding and its number of channels; no embedding with 0 knots.
        kriged: Number of features of the kriging of a row; 0 for none. With kriging the outputs are small at the start.
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
        kriged: int = 0,
    ) -> None:
        super().__init__()
        self.path = TemporalEmbedding(*path) if path[0] else None
        self.graph = StationEncoder(static, graph, edge, heads) if graph else None
        self.context = ContextEncoder(seen, width // 4, edge, heads) if seen else None
        more = (path[1] if path[0] else 0, graph, (width // 4 if seen else 0) + kriged)
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
        if kriged:  # the field starts as the kriging
            assert self.out.scale is not None
            nn.init.constant_(self.out.scale, -3.0)
            if self.straight is not None:
                nn.init.zeros_(self.straight.weight)
                nn.init.zeros_(self.straight.bias)

    def forward(self, given: FieldInputs) -> Tensor:
        """Compute the outputs of each row, (row, output)."""
        around = None if self.graph is None else self.graph(given.sites, given.stations)
        edges = given.seen_edges if given.kriged is not None else given.seen_edges[given.place]
        context = None if self.context is None else self.context(given.seen, edges)
        path = None if self.path is None else self.path(given.elapsed)
        x = given.elapsed[:, : self.features.kinds.count(TIME)], given.sites.static, given.covariates
        h = self.features(given.time, x, given.which, given.place, (path, around, _beside(context, given.kriged)))
        for layer in self.layers:
            h = layer(h, self.activation)
        made: Tensor = self.out(h)
        if self.straight is not None and context is not None:  # nearby observations are nearly the answer
            made = made + self.straight(context)
        if self.constant is not None:
            made = torch.cat([made, self.constant.expand(made.shape[0], -1)], -1)
        return made


def _beside(context: Tensor | None, kriged: Tensor | None) -> Tensor | None:
    return context if context is None or kriged is None else torch.cat([context, kriged], -1)


class TemporalEmbedding(nn.Module):
    """Learned temporal embedding: values at knots in time, with linear interpolation between them.

    The embedding is zero outside the training part. Training also sets it to zero at random times, so that the network
    learns to work without it.

    Args:
        knots: Number of knots, evenly spaced over the training part.
        size: Number of channels.
    """

    LEFT_OUT = 0.2
    """Share of the times at which training sets the embedding to zero."""

    def __init__(self, knots: int, size: int) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.zeros(knots, size))

    def forward(self, elapsed: Tensor) -> Tensor:
        """Interpolate the embedding.

        Args:
            elapsed: Times in units of the training part's length, (time, 1).

        Returns:
            Embedding of each time, (time, size).
        """
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
    """Embedding of a place by two layers of attention: to its nearest stations, and to the nearest stations of those.

    Args:
        static: Number of static features of a place.
        outputs: Number of channels of the embedding.
        edge: Number of features of an edge.
        heads: Number of attention heads.
    """

    def __init__(self, static: int, outputs: int, edge: int, heads: int) -> None:
        super().__init__()
        self.first = GraphAttention(static, outputs, edge, heads)
        self.second = GraphAttention(outputs, outputs, edge, heads)
        self.own = nn.Linear(static, outputs)

    def forward(self, sites: Neighbourhood, stations: Neighbourhood) -> Tensor:
        """Embed places.

        Args:
            sites: Places, with the training stations nearest to each.
            stations: Training stations, with the training stations nearest to each.

        Returns:
            Embeddings, (place, outputs).
        """
        around = self._once(stations, stations)
        made = around if sites is stations else self._once(sites, stations)
        return elu(made + self.second(made, around[sites.near], sites.edges))

    def _once(self, sites: Neighbourhood, stations: Neighbourhood) -> Tensor:
        near = stations.static[sites.near]
        return elu(self.own(sites.static) + self.first(sites.static, near, sites.edges))


def with_latest(values: Tensor) -> Tensor:
    """Append the latest observed value to the lags of a station, and masks to both.

    The latest value is its own channel, weighted by 1 / (1 + age), with its age in steps; its mask channel holds that
    weight. Lags are zero where missing, with masks of 0 and 1.

    Args:
        values: Observed values, (…, lag, target), the newest last, NaN where missing.

    Returns:
        Lags and the latest value, then their masks, (…, 2 * (lag + 1) * target).
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
    """Encoding of the context: the place's own values, attention to its nearest stations, and weighted means of them.

    Attention and means use only stations that observed anything. The means weigh stations by learned powers of their
    distance, which start as inverse distance weighting.

    Args:
        seen: Number of context features of one station.
        outputs: Number of channels of the encoding.
        edge: Number of features of an edge, the logarithm of the distance first.
        heads: Number of attention heads, and of weighted means.
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
        """Encode the context of each row.

        Args:
            seen: Context features of the place itself and its neighbours, (row, 1 + neighbour, seen).
            edges: Features of the edges to the neighbours, (row, neighbour, edge).

        Returns:
            Encodings, (row, outputs).
        """
        own, near = seen[:, 0], seen[:, 1:]
        there = near[..., near.shape[-1] // 2 :].amax(-1) > 0  # the second half holds the masks
        share = (edges @ self.decay).masked_fill(~there.unsqueeze(-1), -1e9).softmax(1) * there.unsqueeze(-1)
        means = share.transpose(1, 2) @ near  # (row, head, seen)
        made: Tensor = self.own(own) + self.attention(own, near, edges, there) + self.means(means.flatten(1))
        return made
