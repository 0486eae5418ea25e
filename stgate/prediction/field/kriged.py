"""Predictor of a field that starts from local kriging: anomalies of the nearest observations in space and time."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from stgate.distributions.anomaly import Anomaly
from stgate.distributions.civil import even_time
from stgate.distributions.likelihoods import Normal, StudentT
from stgate.distributions.transformed import BoundTransforms, Transformed
from stgate.distributions.transforms import State
from stgate.errors import RequestError
from stgate.nn.field.hiding import Hidden, hide
from stgate.nn.field.kriging import NEIGHBOURS, Around, Entries, LocalKriging, around_entries, nearest_observed
from stgate.nn.field.network import FieldInputs, FieldNetwork
from stgate.panels.geometry import EARTH, nearest_of
from stgate.prediction.field.climate import PlaceClimate, Sites
from stgate.prediction.field.neighbourhoods import columns, same
from stgate.prediction.field.predictor import FieldPredictor
from stgate.schema.batch import Batch
from stgate.schema.spec import PanelSpec

OFFSETS = (-2, -1, 0, 1, 2)
"""Steps from the entry at which the network sees the values of a place and its neighbours."""
LIMIT = 5.0
"""Largest difference of a static covariate along an edge, in standard deviations over the stations."""


@dataclasses.dataclass
class PanelPlaces:
    """Places of a panel.

    Attributes:
        sites: Positions and features.
        near: Observing places nearest to each, nearest first, -1 for none, (place, candidate).
        state: Learned numbers of the anomalies at these places; empty without anomalies.
        new: True for places without a climatology of their own, (place,).
        error: Standard deviation of the error of an interpolated climatology, (place, target).
    """

    sites: Sites
    near: Tensor
    state: State
    new: Tensor
    error: Tensor


class KrigedFieldPredictor(FieldPredictor):
    """A field whose network corrects the location and the scale of a local kriging.

    Args:
        **options: Options of `FieldPredictor`.

    Raises:
        RequestError: An option is out of range.
    """

    def __init__(self, **options: Any) -> None:  # noqa: ANN401
        if options.get("log_context"):
            raise RequestError("log_context: with kriging the context is transformed like the targets; use transforms")
        if options.get("context_masking") is None:
            options["context_masking"] = ("own", "gaps", "late", "stations")
        super().__init__(**{**options, "likelihood": options.get("likelihood") or StudentT(min_scale=0.01)})
        self._last: tuple[Tensor, Tensor, PanelPlaces] | None = None
        self._held: tuple[int, int, Tensor] | None = None
        self.withheld: Tensor

    # Building

    @property
    def kriged(self) -> bool:
        """True if the field sees observations; without context it is one of coordinates."""
        return self.spec is not None and self.spec.window > 1

    @property
    def anomaly(self) -> int | None:
        """Number of the transform to anomalies, the last one; None if there is none."""
        return len(self.transforms) - 1 if self.transforms and isinstance(self.transforms[-1], Anomaly) else None

    def build(self, spec: PanelSpec) -> nn.Module:
        """Build a `stgate.nn.field.network.FieldNetwork` that corrects the kriging."""
        if spec.window == 1:
            return super().build(spec)
        names, targets = list(spec.future_covariates), len(spec.targets)
        if self.coordinates is not None:
            known = ["time", *spec.static_covariates, *spec.future_covariates]
            names = [name for name in known if name in self.coordinates]
        features: dict[str, Any] = {"degrees": self._degrees(names), "interactions": []}
        features |= {"seasons": self._seasons(spec), "times": names.count("time")}
        outputs = self.likelihood.parameters * targets
        static = len(self._kept(spec.static_covariates))
        return FieldNetwork(
            features,
            static=static,
            covariates=len(self._kept(spec.future_covariates)),
            seen=2 * len(OFFSETS) * targets,
            edge=2 + self._axes(spec) + len(spec.static_covariates),
            outputs=outputs,
            varying=outputs if self.varying else targets,
            kriged=1 + 9 * targets,
            **self.options | ({} if static else {"graph": 0}),
        )

    def _kept(self, names: Any) -> list[int]:  # noqa: ANN401
        """Return the positions of the coordinates that are features; with kriging only covariates unless named."""
        if self.kriged and self.coordinates is None:
            return [i for i, name in enumerate(names) if name in self.fitted_spec.future_covariates]
        return super()._kept(names)

    @staticmethod
    def _axes(spec: PanelSpec) -> int:
        return 3 if set(spec.places) == {"lat", "lon"} else len(spec.places)

    def configure(self, spec: PanelSpec) -> None:
        """Take the spec, and build scaler, network, kriging and the climatology of places; once only."""
        if self.network is not None:
            return
        if spec.window == 1 and self.transforms:
            raise RequestError("transforms: need a context, by which the field knows new places; give data.context")
        super().configure(spec)
        self._last = None
        if spec.window == 1:
            return
        for transform in self.transforms[:-1] if self.anomaly is not None else self.transforms:
            if any(len(spec.nodes) in shape for shape in transform.shapes(spec).values() if len(shape) > 1):
                raise RequestError(f"transforms {type(transform).__name__}: knows training nodes only; leave it out")
        targets, nodes = len(spec.targets), len(spec.nodes)
        self.kriging = nn.ModuleList(
            LocalKriging(self._axes(spec), len(spec.static_covariates)) for _ in range(targets)
        ).requires_grad_(False)
        size = 1 if self.anomaly is None else self.transforms[-1].shapes(spec)["coefficients"][0]
        self.climate = PlaceClimate(nodes, size, targets)
        self.register_buffer("withheld", torch.zeros(nodes, dtype=torch.bool))

    # Places

    def sites(self, static: Tensor) -> Sites:
        """Return the positions of places in typical distances, and their standardised static covariates."""
        ground, places = self.ground, self.neighbourhoods.places(static)
        position = torch.from_numpy(places.points * (EARTH if places.sphere else 1.0)).to(static.device)
        features = torch.nan_to_num((static - ground.center) / ground.scale, nan=0.0)
        return Sites(position / ground.typical.double(), features.double())

    def places_of(self, static: Tensor, ever: Tensor) -> PanelPlaces:
        """Return the places of a panel; those of the last panel are kept."""
        if self._last is None or not (same(self._last[0], static) and same(self._last[1], ever)):
            self._last = static, ever, self._find_places(static, ever)
        return self._last[2]

    def forget_places(self) -> None:
        """Drop the kept places, after the climatology or the geometry has changed."""
        self._last = None

    def _find_places(self, static: Tensor, ever: Tensor) -> PanelPlaces:
        sites, ground = self.sites(static), self.ground
        near, _ = nearest_of(self.neighbourhoods.places(static), np.flatnonzero(ever.cpu().numpy()), 4 * NEIGHBOURS)
        index = torch.from_numpy(near).to(static.device)
        count, targets = len(static), len(self.fitted_spec.targets)
        if self.anomaly is None:
            none = torch.zeros(count, dtype=torch.bool, device=static.device)
            return PanelPlaces(sites, index, {}, none, torch.zeros(count, targets, device=static.device))
        state = self.transform.state(self.anomaly)
        if torch.equal(static, ground.static):
            station = torch.arange(count, device=static.device)
        else:
            rows = {tuple(row): i for i, row in enumerate(ground.static.tolist())}
            station = torch.tensor([rows.get(tuple(row), -1) for row in static.tolist()], device=static.device)
        new = (station < 0) | ~self.climate.seen[station]
        own = {**state, "coefficients": state["coefficients"][:, station], "scale": state["scale"][station]}
        error = torch.zeros(count, targets, device=static.device)
        if new.any():
            made = self.climate.at(state, sites[new], self.sites(ground.static))
            own["coefficients"][:, new], own["scale"][new], error[new] = made
        return PanelPlaces(sites, index, own, new, error)

    # Transforms

    def bound(self, batch: Batch, time: Tensor, new: Tensor | None = None) -> BoundTransforms:
        """Return the transforms at the places of a batch.

        Args:
            batch: Windows.
            time: (batch, step).
            new: True for windows whose places get a climatology from other stations, (batch,); None for none.
        """
        given = [t.bind(self.transform.state(number), time) for number, t in enumerate(self.transforms)]
        if self.anomaly is not None:
            batch, last = self.bounded(batch), self.transforms[-1]
            places = self.places_of(batch["static"], batch["ever"])
            given[-1] = last.bind(places.state, time)
            if new is not None and len(batch["static"]) == len(self.climate.error):
                other = {**places.state, "coefficients": self.climate.left_out, "scale": self.climate.left_out_scale}
                given[-1] = torch.where(new.view(-1, 1, 1, 1, 1), last.bind(other, time), given[-1])
        return BoundTransforms(self.transforms, tuple(given))

    def encode(self, batch: Batch) -> Batch:
        """Transform the targets of a raw batch; in training also hide a part of the observations."""
        if not self.kriged:
            return super().encode(batch)
        spec = self.fitted_spec
        targets, now = len(spec.targets), spec.window - 1
        values = torch.cat([batch["past"][..., :targets], batch["after"]] if spec.ahead else [batch["past"]], 1)
        values = values[..., :targets]
        if not self.training:
            return self.hidden_batch(batch, self._unhidden(values, now))
        return self.hidden_batch(batch, hide(values, now, spec.horizon, self.context_masking))

    @staticmethod
    def _unhidden(values: Tensor, now: int) -> Hidden:
        mine = torch.zeros(values.shape[:3], dtype=torch.bool, device=values.device)
        mine[:, now] = True
        return Hidden(values, mine, mine.new_zeros(values.shape[0]))

    def hidden_batch(self, batch: Batch, hidden: Hidden) -> Batch:
        """Transform the targets of a raw batch of which a field sees a part.

        Args:
            batch: Windows in raw units.
            hidden: The observations that the field sees.
        """
        spec, batch = self.fitted_spec, self.bounded(batch)
        targets, now = len(spec.targets), spec.window - 1
        time = batch["time"][:, : spec.window]
        later = torch.arange(1, spec.ahead + 1, dtype=time.dtype, device=time.device) * spec.step
        later = later + 0.25 * spec.step * (spec.months > 0)  # months differ in length: well within the month
        around = torch.cat([time, time[:, -1:] + later], 1)
        seen = self.transform.encoded(self.bound(batch, around), hidden.values, around, batch["origin"][:, 0])
        entry = self.bound(batch, time[:, -1:], hidden.new).encode(batch["past"][:, now:, :, :targets])
        past = torch.cat([seen[:, : spec.window], batch["past"][..., targets:]], -1)
        target = batch["target"]
        if target.shape[1]:
            target = self.bound(batch, batch["time"][:, spec.window :]).encode(target)
        more = {"seen": seen, "entry": entry[:, 0], "mine": hidden.mine, "new": hidden.new}
        return cast(Batch, {**batch, "past": past, "target": target, **more})

    def decoded(self, forecast: Distribution, batch: Batch) -> Distribution:
        """Return the distribution of the targets in their own units, from that of the transformed ones."""
        if not (self.kriged and self.transforms):
            return super().decoded(forecast, batch)
        ahead = batch["time"][:, self.fitted_spec.window :][:, : forecast.batch_shape[-3]]
        return Transformed(forecast, self.bound(batch, ahead))

    # Evaluating

    def reconstruction(self, batch: Batch) -> Distribution:
        """Reconstruct the last step of each window of a raw batch at all nodes: (batch, 1, node, target)."""
        return self.estimate(batch, self.encode(batch)) if self.kriged else super().reconstruction(batch)

    def estimate(self, batch: Batch, encoded: Batch) -> Distribution:
        """Estimate the last step of each window, (batch, 1, node, target), in the targets' units.

        Args:
            batch: Windows in raw units.
            encoded: The same windows as `encode` or `hidden_batch` returns them.
        """
        made = self.inference.predictive(self.distribution(self._at(encoded, 0)))
        last = self.fitted_spec.window
        new: Tensor = encoded["new"]  # type: ignore[typeddict-item]
        return Transformed(made, self.bound(batch, batch["time"][:, last - 1 : last], new)) if self.transforms else made

    def now(self, batch: Batch) -> Tensor:
        """Return the targets at the last step of each window, (batch, node, target), NaN where missing."""
        return batch["entry"] if "entry" in batch else super().now(batch)  # type: ignore[typeddict-item]

    @property
    def left_out(self) -> Tensor | None:
        """Flags of the withheld nodes, on the host, (node,); None without kriging."""
        if self.kriged and (self._held is None or self._held[:2] != (id(self.withheld), self.withheld._version)):
            self._held = id(self.withheld), self.withheld._version, self.withheld.cpu()
        return self._held[2] if self.kriged and self._held else None

    def _raw(self, batch: Batch, lead: int, rows: Tensor) -> Tensor:
        """Return raw outputs at rows of (batch, node): (member?, row, target, parameter)."""
        if not self.kriged:
            return super()._raw(batch, lead, rows)
        given, mean, deviation = self._corrected(batch, lead, rows)
        raw = self._unflattened(self.built(given))
        if not isinstance(self.likelihood, Normal | StudentT):
            return raw
        location, scale, *rest = raw.unbind(-1)
        width = deviation * torch.exp(scale.clamp(-4, 4))
        # The inverse of softplus, without the exponential of a width that would overflow.
        exponential = getattr(self.likelihood, "link", "softplus") == "exp"
        link = width.log() if exponential else width + torch.log(-torch.expm1(-width))
        return torch.stack([mean + deviation * location, link, *rest], -1)

    def around(self, batch: Batch, lead: int, rows: Tensor) -> tuple[list[Around], Tensor, Tensor, Tensor, Entries]:
        """Gather what the kriging of each target sees, the values, and the neighbours of each row.

        Args:
            batch: Encoded windows.
            lead: Number of steps after the window.
            rows: Rows of (batch, node), flattened.

        Returns:
            Observations around the rows for each target; standardised values, (batch, step, node, target); flags of
            values hidden from their own place, (batch, step, node); neighbours of each row, (row, neighbour); entries.
        """
        spec, plain = self.fitted_spec, cast(dict[str, Tensor], batch)
        values = (plain["seen"] - self.scaler.target_center) / self.scaler.target_scale
        mine, now = plain["mine"], spec.window - 1 + lead
        if lead:
            shape = (values.shape[0], max(lead, 1), *values.shape[2:])
            values = torch.cat([values[:, : spec.window], values.new_full(shape, torch.nan)], 1)
            mine = torch.zeros(values.shape[:3], dtype=torch.bool, device=values.device)
        places = self.places_of(batch["static"], batch["ever"])
        nodes = len(batch["static"])
        entries = Entries(now, rows // nodes, rows % nodes)
        at = Entries(spec.window - 1, entries.which, entries.place) if lead else entries
        chosen = nearest_observed(values[..., 0], at, places.near)
        sites = places.sites
        found = [
            around_entries(values[..., t], mine, entries, chosen, sites.position.to(values), sites.features.to(values))
            for t in range(values.shape[-1])
        ]
        return found, values, mine, chosen, entries

    def _corrected(self, batch: Batch, lead: int, rows: Tensor) -> tuple[FieldInputs, Tensor, Tensor]:
        """Return the network's inputs, and the kriging's mean and standard deviation, (row, target)."""
        found, values, mine, chosen, entries = self.around(batch, lead, rows)
        places, plain = self.places_of(batch["static"], batch["ever"]), cast(dict[str, Tensor], batch)
        with torch.no_grad():
            made = [kriging(around) for kriging, around in zip(self.kriging, found, strict=True)]
        mean, deviation = (torch.stack(parts, -1).to(values) for parts in zip(*made, strict=True))
        new, error = places.new[entries.place], places.error[entries.place]
        if self.anomaly is not None and len(batch["static"]) == len(self.climate.error):
            simulated = plain["new"][entries.which]
            new = new | simulated
            error = torch.where(simulated.unsqueeze(-1), self.climate.error[entries.place], error)
        error = torch.where(new.unsqueeze(-1), error / self.scaler.target_scale, 0.0)
        deviation = (deviation.square() + error.square()).sqrt()
        kriged = [new.to(values).unsqueeze(-1), mean, deviation.log(), torch.log(error + 0.01) * (error > 0)]
        kriged += _summaries(found, mean)
        context = _context(values, mine, chosen[:, : self.neighbours], entries, mean)
        edges = _edges(places.sites, chosen[:, : self.neighbours], entries.place).to(values)
        base = self._inputs_of_time(batch, lead, entries)
        given = dataclasses.replace(base, seen=context, seen_edges=edges, kriged=torch.cat(kriged, -1))
        return given, mean, deviation

    def _inputs_of_time(self, batch: Batch, lead: int, entries: Entries) -> FieldInputs:
        spec, ground = self.fitted_spec, self.ground
        first = len(spec.channels) - len(spec.future_covariates)
        steps = (even_time(batch["time"][:, spec.window - 1 + lead], spec) - ground.start) / spec.step
        given = batch["future"][:, lead - 1] if lead else batch["past"][:, -1, :, first:]
        given = torch.nan_to_num((given - self.scaler.center[first:]) / self.scaler.scale[first:], nan=0.0)
        given = columns(given, self._kept(spec.future_covariates))
        sites, stations, _ = self.neighbourhoods.of(batch["static"], batch["ever"])
        elapsed = (steps / ground.length).to(given).unsqueeze(-1)
        which, place = entries.which, entries.place
        return FieldInputs(
            steps, elapsed, which, place, given[which, place], sites, stations, given[:0, 0], given[:0, 0]
        )


def _summaries(found: list[Around], mean: Tensor) -> list[Tensor]:
    """Return for each target the mean and spread of the neighbours, and the place's own values, around the kriging."""
    columns = []
    for target, around in enumerate(found):
        middle = mean[:, target : target + 1]
        there, values = around.there[:, :NEIGHBOURS].to(mean), around.values[:, :NEIGHBOURS].to(mean)
        count = there.sum(-1, keepdim=True).clamp(min=1)
        average = (there * (values - middle)).sum(-1, keepdim=True) / count
        spread = ((there * (values - middle - average).square()).sum(-1, keepdim=True) / count).sqrt()
        fresh = around.there[:, -2:] / (1 + around.lag[:, -2:].abs())
        own = (around.values[:, -2:] - middle) * fresh
        columns += [average, torch.log(spread + 0.05), own.to(mean), fresh.to(mean)]
    return columns


def _context(values: Tensor, mine: Tensor, chosen: Tensor, entries: Entries, mean: Tensor) -> Tensor:
    """Return the values around each row less the kriging, with their masks, (row, 1 + neighbour, feature)."""
    steps = torch.arange(OFFSETS[0], OFFSETS[-1] + 1, device=values.device) + entries.now
    inside = (steps >= 0) & (steps < values.shape[1])
    steps = steps.clamp(0, values.shape[1] - 1)
    which = entries.which[:, None, None]
    node = torch.cat([entries.place.unsqueeze(-1), chosen], 1).unsqueeze(-1)  # (row, 1 + neighbour, 1)
    made = values[which, steps, node.clamp(min=0)]  # (row, 1 + neighbour, offset, target)
    made = made.masked_fill(((node < 0) | ~inside).unsqueeze(-1), torch.nan)
    own = mine[entries.which[:, None], steps, entries.place[:, None]]
    made[:, 0] = made[:, 0].masked_fill(own.unsqueeze(-1), torch.nan)
    made = made - mean[:, None, None]
    there = ~torch.isnan(made)
    return torch.cat([torch.nan_to_num(made).flatten(2), there.to(made).flatten(2)], -1)


def _edges(sites: Sites, chosen: Tensor, place: Tensor) -> Tensor:
    """Return distance, direction and differences of static covariates of each neighbour, (row, neighbour, edge)."""
    at = chosen.clamp(min=0)
    gap = sites.position[at] - sites.position[place].unsqueeze(1)
    far = gap.norm(dim=-1, keepdim=True)
    apart = (sites.features[at] - sites.features[place].unsqueeze(1)).clamp(-LIMIT, LIMIT)
    return torch.cat([torch.log1p(far), torch.exp(-far), gap / (far + 1e-6), apart], -1)
