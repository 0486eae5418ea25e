"""Linear forecast of a window: weights that all nodes share, and what each node takes from the last values of all."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stgate.nn.inputs import Inputs
from stgate.nn.single import single_precision
from stgate.schema.spec import PanelSpec

WIDEST, PATTERNS, LARGEST = 300, 30, 30_000_000
"""Largest number of nodes times targets for which each node reads the last values of all nodes; number of patterns in
space that stand for them where there are more; and largest number of weights of these patterns."""


class LinearForecast(nn.Module):
    """Linear forecast of all leads, fitted in closed form.

    Attributes:
        weight: Weights that all nodes share, (feature, lead, target).
        across: Weights of the state of all nodes, (state, lead, node, target): of their last values, or of patterns.
        patterns: Patterns in space whose strengths are the state of many nodes, (node * target, state); None for few
            nodes, whose state is their last values.

    Args:
        spec: Description of the inputs.
    """

    weight: Tensor
    across: Tensor
    patterns: Tensor | None

    def __init__(self, spec: PanelSpec) -> None:
        super().__init__()
        self.targets = len(spec.targets)
        every, shape = len(spec.nodes) * self.targets, (len(spec.nodes), self.targets)
        self.register_buffer("weight", torch.zeros(_size(spec), spec.horizon, self.targets))
        size = state_size(every, spec.horizon)
        self.register_buffer("across", torch.zeros(size, spec.horizon, *shape))
        self.register_buffer("patterns", torch.zeros(every, size) if every > WIDEST else None)

    def forward(self, inputs: Inputs) -> Tensor:
        """Forecast, standardised: (batch, lead, node, target)."""
        return self.of_features(self.features(inputs), inputs)

    def of_features(self, features: Tensor, inputs: Inputs) -> Tensor:
        """Forecast from the features of the same inputs, standardised: (batch, lead, node, target)."""
        own = torch.einsum("bnf,flt->blnt", features, self.weight)
        return own if not len(self.across) else own + torch.einsum("bz,zlnt->blnt", self.state(inputs), self.across)

    def features(self, inputs: Inputs) -> Tensor:
        """Return the features of each node, (batch, node, feature).

        They are the window with its masks, the future covariates, the steps since observed, the static inputs, and, the
        same for all nodes, the window's mean over nodes, the calendar and a constant.
        """
        size, _, nodes, _ = inputs.values.shape
        target, seen = inputs.values[..., : self.targets], inputs.mask[..., : self.targets]
        mean = (target * seen).sum(2) / seen.sum(2).clamp(min=1)  # (batch, window, target)
        calendar = torch.cat([inputs.calendar[:, -1], inputs.future_calendar[:, -1]], -1)
        shared = torch.cat([mean.flatten(1), calendar, mean.new_ones(size, 1)], -1)
        own = [inputs.values, inputs.mask, inputs.future]
        columns = [x.transpose(1, 2).flatten(2) for x in own] + [inputs.since[:, -1]]
        columns += [shared[:, None].expand(-1, nodes, -1), inputs.static.expand(size, -1, -1)]
        return torch.cat(columns, -1)

    def state(self, inputs: Inputs) -> Tensor:
        """Return the last values of all nodes, zero where the window holds none, or their patterns, (batch, state)."""
        last = self.last(inputs)
        return last if self.patterns is None else last @ self.patterns

    def last(self, inputs: Inputs) -> Tensor:
        """Return the last values of all nodes, zero where the window holds none, (batch, node * target)."""
        return (inputs.last * inputs.mask[..., : self.targets].amax(1)).flatten(1)


def state_size(every: int, leads: int) -> int:
    """Return the number of values that are the state of all nodes: theirs, or those of patterns of many nodes.

    Args:
        every: Number of nodes times targets.
        leads: Number of leads.
    """
    if every <= WIDEST:
        return every
    return PATTERNS if PATTERNS * every * leads <= LARGEST else 0


REACH = 1.5
"""Largest logarithm of the factor by which features change a standard deviation."""


class LinearTable(nn.Module):
    """Linear forecast with standard deviations.

    Attributes:
        linear: The forecast.
        spread: Standard deviation of the errors, standardised, (lead, target).
        by_features: Weights of the logarithm of a factor of it, (feature, lead, target).
        by_node: Factor of each node, (node, lead, target).

    Args:
        spec: Description of the inputs.
    """

    spread: Tensor
    by_features: Tensor
    by_node: Tensor

    def __init__(self, spec: PanelSpec) -> None:
        super().__init__()
        self.linear = LinearForecast(spec)
        self.register_buffer("spread", torch.ones(spec.horizon, len(spec.targets)))
        self.register_buffer("by_features", torch.zeros_like(self.linear.weight))
        self.register_buffer("by_node", torch.ones(len(spec.nodes), spec.horizon, len(spec.targets)))

    @single_precision()
    def forward(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Return means and standard deviations, standardised, each (batch, lead, node, target)."""
        features = self.linear.features(inputs)
        return self.linear.of_features(features, inputs), self.stddev(features)

    def stddev(self, features: Tensor) -> Tensor:
        """Return standard deviations, standardised, (batch, lead, node, target)."""
        log = torch.einsum("bnf,flt->blnt", features, self.by_features).clamp(-REACH, REACH)
        return self.spread[:, None] * self.by_node.transpose(0, 1) * log.exp()


def _size(spec: PanelSpec) -> int:
    """Return the number of features."""
    targets = len(spec.targets)
    window = spec.window * (2 * len(spec.channels) + targets)
    ahead = 2 * len(spec.future_covariates) * spec.horizon
    return 1 + window + targets + 4 * len(spec.calendar) + len(spec.static_covariates) + ahead
