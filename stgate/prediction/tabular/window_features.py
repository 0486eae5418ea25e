"""Features of a window for tabular forecasters: lags, rolling statistics, neighbours, the node and the calendar."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stgate.distributions.transforms import Transform
from stgate.panels.calendar import PERIODS
from stgate.schema.spec import PanelSpec

LAGS = (0, 1, 2, 3, 4, 5, 6, 8, 11, 13, 17, 23, 25, 35, 47, 71, 95, 143, 167, 335)
"""Lags of the target in steps, as far as the window reaches; its last step is always one of them."""
LENGTHS = (3, 6, 12, 24, 48, 96, 168, 336)
"""Lengths of rolling statistics in steps, as far as the window reaches; the whole window is always one of them."""
SHARED_LAGS = (0, 1, 2, 3, 5)
"""Lags of means over nodes, and of covariates."""
FEW, MANY = 11, 4
"""Numbers of single nodes whose last values are features: for panels of at most 20 nodes, and for larger ones."""
PATTERNS = 20
"""Number of patterns in space whose strengths are features, on panels of more than 20 nodes."""


class WindowFeatures(nn.Module):
    """Features of a node's window and of each lead, NaN where missing, in standardised units.

    Args:
        spec: The spec of the panel, without inputs that were added to it.
        directions: Number of means over neighbours.
        statistics: Number of statistics of a node.
        transforms: Transforms of the targets.
        patterns: Number of patterns in space whose strengths are features; None chooses it by the number of nodes.
    """

    nearest: Tensor
    patterns: Tensor | None

    def __init__(
        self,
        spec: PanelSpec,
        *,
        directions: int,
        statistics: int,
        transforms: tuple[Transform, ...],
        patterns: int | None = None,
    ) -> None:
        super().__init__()
        window, nodes, targets = spec.window, len(spec.nodes), len(spec.targets)
        self.window, self.horizon, self.targets, self.nodes = window, spec.horizon, targets, nodes
        self.lags = sorted({lag for lag in LAGS if lag < window} | {window - 1})
        self.lengths = sorted({length for length in LENGTHS if length < window} | {window})
        self.shared_lags = [lag for lag in SHARED_LAGS if lag < window]
        steps = {round(period / spec.step) for period in PERIODS.values()} if spec.time == "calendar" else set()
        self.seasons = sorted(period for period in steps if 2 <= period <= window)
        self.directions, self.others = directions, len(spec.channels) - 1
        self.known = len(spec.future_covariates)
        self.usual = len(transforms) > 0
        single = min(FEW if nodes <= 20 else MANY, nodes - 1)
        self.register_buffer("nearest", torch.zeros(targets, nodes, single, dtype=torch.int64))
        self.strengths = (PATTERNS if nodes > 20 else 0) if patterns is None else patterns
        room = torch.zeros(targets, nodes, self.strengths) if self.strengths else None
        self.register_buffer("patterns", room)
        middle = self.lengths[len(self.lengths) // 2 - (len(self.lengths) > 1)]
        self.middle = middle
        names = [f"lag {lag}" for lag in self.lags] + ["last", "age", "change", "departure"]
        names += [f"pattern {k}" for k in range(self.strengths)]
        names += [f"mean of {length}" for length in self.lengths]
        for length in {middle, window}:
            names += [f"{kind} of {length}" for kind in ("least", "largest", "deviation")]
        names += [f"observed share of {window}"]
        for kind in ["all nodes", *(f"neighbours {k}" for k in range(directions))]:
            names += [*(f"{kind} lag {lag}" for lag in self.shared_lags), f"{kind} mean"]
        names += [f"node {k} lag {lag}" for k in range(single) for lag in (0, 1)[: min(window, 2)]]
        names += [f"channel {k}, {what}" for k in range(self.others) for what in ("lag 0", "lag 1", "mean")]
        names += [f"static {k}" for k in range(len(spec.static_covariates) + statistics)] + ["node"]
        self.names = names
        ahead = ["lead"] + [f"calendar {k}" for k in range(2 * len(spec.calendar))]
        ahead += [f"phase {k}" for k in range(len(spec.calendar))] + (["usual", "usual now"] if self.usual else [])
        ahead += [f"{what} {season}" for season in self.seasons for what in ("same phase", "mean of same phase")]
        ahead += [f"known {k}" for k in range(self.known)]
        self.lead_names = ahead

    @property
    def own_lags(self) -> slice:
        """Columns that hold lags of the target itself; a missing one is near the last observed value."""
        return slice(0, len(self.lags))

    @property
    def pattern_columns(self) -> slice:
        """Columns that hold strengths of patterns in space."""
        first = self.names.index("pattern 0") if self.strengths else 0
        return slice(first, first + self.strengths)

    def origin(self, past: Tensor, near: Tensor, since: Tensor, static: Tensor, target: int) -> Tensor:
        """Return the features of the window, (batch, node, feature).

        Args:
            past: Standardised window, (batch, window, node, channel), NaN where missing.
            near: Means over neighbours, (batch, window, node, direction), NaN where missing.
            since: Steps since the target was observed, (batch, node).
            static: Static inputs, (node, static).
            target: Number of the target.
        """
        own = past[..., target]  # (batch, window, node)
        size, window, nodes = own.shape
        last = _last(own)
        columns = [own[:, window - 1 - lag] for lag in self.lags]
        means = {length: own[:, -length:].nanmean(1) for length in self.lengths}
        columns += [last, torch.log1p(since), own[:, -1] - own[:, max(window - 2, 0)], last - means[window]]
        if self.patterns is not None:
            strengths = torch.nan_to_num(last) @ self.patterns[target]  # (batch, pattern)
            columns += [one.unsqueeze(1).expand(-1, nodes) for one in strengths.unbind(-1)]
        columns += list(means.values())
        for length in {self.middle, window}:
            part = own[:, -length:]
            missing = torch.isnan(part)
            none = missing.all(1)
            low, high = part.masked_fill(missing, torch.inf).amin(1), part.masked_fill(missing, -torch.inf).amax(1)
            deviation = (part - means[length].unsqueeze(1)).square().nanmean(1).sqrt()
            columns += [low.masked_fill(none, torch.nan), high.masked_fill(none, torch.nan), deviation]
        columns.append((~torch.isnan(own)).to(own.dtype).mean(1))
        everywhere = own.nanmean(2, keepdim=True).expand_as(own)
        for mean in [everywhere, *near.unbind(-1)]:
            columns += [mean[:, window - 1 - lag] for lag in self.shared_lags]
            columns.append(mean[:, -self.middle :].nanmean(1))
        nearest = self.nearest[target]
        for k in range(nearest.shape[1]):
            columns += [own[:, window - 1 - lag][:, nearest[:, k]] for lag in (0, 1)[: min(window, 2)]]
        for channel in range(past.shape[-1]):
            if channel != target:
                other = past[..., channel]
                columns += [other[:, -1], other[:, max(window - 2, 0)], other[:, -self.middle :].nanmean(1)]
        columns += [one.expand(size, -1) for one in static.unbind(-1)]
        columns.append(torch.arange(nodes, device=own.device, dtype=own.dtype).expand(size, -1))
        return torch.stack(columns, -1)

    def ahead(self, past: Tensor, future: Tensor, calendar: Tensor, usual: Tensor | None, target: int) -> Tensor:
        """Return the features of each lead, (batch, lead, node, feature).

        Args:
            past: Standardised window, (batch, window, node, channel), NaN where missing.
            future: Standardised future covariates, (batch, lead, node, future covariate), NaN where missing.
            calendar: Calendar features of the leads, (batch, lead, feature).
            usual: Usual values at the last step of the window and at the leads, (batch, 1 + lead, node); None without
                transforms.
            target: Number of the target.
        """
        own = past[..., target]
        size, window, nodes = own.shape
        shape = (size, self.horizon, nodes)
        lead = torch.arange(1, self.horizon + 1, device=own.device)
        columns = [lead.to(own.dtype).view(1, -1, 1)]
        columns += [one.unsqueeze(-1) for one in calendar.unbind(-1)]
        pairs = calendar.reshape(*calendar.shape[:-1], -1, 2)
        columns += [torch.atan2(*pair.unbind(-1)).unsqueeze(-1) for pair in pairs.unbind(-2)]
        if usual is not None:
            columns += [usual[:, 1:], usual[:, :1]]
        for season in self.seasons:
            row = window - 1 + lead - season * ((lead + season - 1) // season)  # one season, or more, earlier
            earlier = torch.stack([own[:, (row - k * season).clamp(min=0)] for k in range(window // season + 1)])
            there = torch.stack([row - k * season >= 0 for k in range(window // season + 1)])
            earlier = earlier.masked_fill(~there[:, None, :, None], torch.nan)
            columns += [earlier[0], earlier.nanmean(0)]
        columns += list(future.unbind(-1))
        return torch.stack([column.expand(shape) for column in columns], -1)


def _last(own: Tensor) -> Tensor:
    """Return the last observed value of each window, (batch, node); NaN if there is none."""
    steps = torch.arange(1, own.shape[1] + 1, device=own.device).view(1, -1, 1)
    newest = torch.where(torch.isnan(own), 0, steps).argmax(1, keepdim=True)
    return own.gather(1, newest).squeeze(1)
