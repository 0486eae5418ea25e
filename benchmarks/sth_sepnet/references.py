"""Networks that STH-SepNet is held against, as forecasters of the package: DLinear and STID.

Zeng et al. (2023), Are transformers effective for time series forecasting? AAAI. Shao et al. (2022), Spatial-temporal
identity: a simple yet effective baseline for multivariate time series forecasting. CIKM.
"""

import copy

import torch
from torch import nn
from torch.nn.functional import avg_pool1d, pad

from stgate.models import Forecaster

DAY = 288
"""Steps of 5 minutes."""


class LinearNetwork(nn.Module):
    """A trend (mean over 25 steps) and what is left of it, each by one linear map for all nodes."""

    def __init__(self, window, horizon, outputs, around=25):
        super().__init__()
        self.around, self.shape = around, (horizon, outputs)
        self.trend, self.rest = (nn.Linear(window, horizon * outputs) for _ in range(2))

    def forward(self, inputs):
        """(batch, lead, node, 1, output)."""
        x = inputs.values[..., 0].transpose(1, 2)
        half = self.around // 2
        trend = avg_pool1d(pad(x, (half, half), mode="replicate"), self.around, 1)
        made = (self.trend(trend) + self.rest(x - trend)).unflatten(-1, self.shape)
        return made.transpose(1, 2).unsqueeze(3)


class IdentityNetwork(nn.Module):
    """A window of a node, who it is and the time of day, through residual layers.

    The published one also knows the day of the week, which a record of a week does not teach.
    """

    def __init__(self, nodes, window, horizon, outputs, width=32, layers=3):
        super().__init__()
        self.shape = (horizon, outputs)
        self.window = nn.Linear(window, width)
        self.node = nn.Parameter(0.1 * torch.randn(nodes, width))
        self.day = nn.Embedding(DAY, width)
        size = 3 * width
        block = nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Dropout(0.15), nn.Linear(size, size))
        self.layers = nn.ModuleList(copy.deepcopy(block) for _ in range(layers))
        self.out = nn.Linear(size, horizon * outputs)

    def forward(self, inputs):
        """(batch, lead, node, 1, output); the calendar begins with the hour."""
        x = self.window(inputs.values[..., 0].transpose(1, 2))
        sine, cosine = inputs.calendar[:, -1, :2].unbind(-1)
        cell = (torch.atan2(sine, cosine) / (2 * torch.pi) * DAY).round().long() % DAY
        h = torch.cat([x, self.node.expand_as(x), self.day(cell).unsqueeze(1).expand_as(x)], -1)
        for layer in self.layers:
            h = h + layer(h)
        return self.out(h).unflatten(-1, self.shape).transpose(1, 2).unsqueeze(3)


class DLinear(Forecaster):
    """DLinear: a trend and a rest, each by one linear map for all nodes."""

    def build(self, spec):
        """Build the network for a panel."""
        return LinearNetwork(spec.window, spec.horizon, self.predictor.likelihood.parameters)


class STID(Forecaster):
    """STID: perceptrons on the window, the node and the time of day."""

    def build(self, spec):
        """Build the network for a panel."""
        return IdentityNetwork(len(spec.nodes), spec.window, spec.horizon, self.predictor.likelihood.parameters)
