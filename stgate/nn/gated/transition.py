"""One step of a field: its tendency as a local gated network, carried over the step by a scheme in time."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from stgate.errors import RequestError, did_you_mean
from stgate.nn.feedforward import GatedFeedForward, UnitName
from stgate.nn.gated.exponential import Coefficients, ExponentialScheme
from stgate.nn.gates import GateName, make_gate
from stgate.nn.patches import Patches

SchemeName = Literal["euler", "midpoint", "rk4", "exponential"]
"""Names of the schemes in time: Runge-Kutta of order 1, 2 and 4, and exponential of order 4 for a linear operator."""
SCHEMES: tuple[SchemeName, ...] = get_args(SchemeName)


class Transition(nn.Module):
    """The next values of a field, u + the integral over one step of f(u, c), with c what is known of the step.

    f is one local network for all patches: a linear map of what a patch sees, whitened; blocks of gated feed-forward
    layers; and a linear map to the tendency of the patch's own nodes, in units of the usual change over a step. With
    `euler` and one substep it is a plain residual map; with more substeps, or a scheme of higher order, a weight-tied
    deep network: f is what an ordinary differential equation says, and each evaluation sees one halo further.

    Args:
        patches: How nodes are cut.
        targets: Variables a node.
        context: Size of what is known of the step beside the field, held fixed over it; may be 0.
        extra: Other numbers a node and target, such as the spread.
        width: Of the local network.
        blocks: Gated layers; 0 makes f linear.
        unit: Of the gated layers, see `GatedFeedForward`.
        gate: Name of a gate of `stgate.nn.gates` by which each layer joins what skips it.
        scheme: One of `SCHEMES`.
        substeps: Of the scheme in one step.
        conservative: The tendency of each target adds up to zero over all nodes.

    Attributes:
        change: (target,), the usual change over a step; 1 until it is set.
        whiten: (seen, seen), what the field that a patch sees is multiplied by; the identity until it is set.

    Raises:
        RequestError: No scheme of this name, or no substep; the scheme `exponential` where the panel has an edge.

    References:
        Chen et al. (2018), Neural ordinary differential equations. NeurIPS.
        Zhu, Chang, Fu (2018), Convolutional neural networks combined with Runge-Kutta methods. arXiv:1802.08831.
    """

    change: Tensor
    whiten: Tensor

    def __init__(
        self,
        patches: Patches,
        targets: int,
        context: int,
        extra: int,
        *,
        width: int = 32,
        blocks: int = 1,
        unit: UnitName = "swiglu",
        gate: GateName = "additive",
        scheme: SchemeName = "euler",
        substeps: int = 1,
        conservative: bool = False,
    ) -> None:
        super().__init__()
        if scheme not in SCHEMES:
            raise RequestError(f"scheme {scheme!r}: {did_you_mean(scheme, SCHEMES)}")
        if substeps < 1:
            raise RequestError(f"substeps {substeps}: at least 1")
        self.patches, self.targets, self.extra = patches, targets, extra
        self.scheme, self.substeps, self.conservative = scheme, substeps, conservative
        own = patches.size * targets
        self.register_buffer("change", torch.ones(targets))
        self.register_buffer("whiten", torch.eye(patches.reach * targets))
        self.seen = nn.Linear(patches.reach * targets, width)
        self.known = nn.Linear(context, width, bias=False) if context else None
        self.layers = nn.ModuleList(GatedFeedForward(width, unit) for _ in range(blocks))
        self.gates = nn.ModuleList(make_gate(gate, width) for _ in range(blocks))
        self.tendency = nn.Linear(width, own)
        self.rest = nn.Linear(width, own * extra) if extra else None
        stiff = scheme == "exponential"
        self.exponential = ExponentialScheme(patches, targets, substeps, conservative=conservative) if stiff else None
        nn.init.normal_(self.tendency.weight, std=0.1 / width**0.5)
        nn.init.zeros_(self.tendency.bias)

    def forward(self, field: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """One step.

        Args:
            field: (..., node, target), standardised.
            context: (..., patch, context).

        Returns:
            The next field, and the other numbers (..., node, target, extra), which are read off where the step begins.
        """
        known = None if self.known is None or context is None else self.known(context)
        hidden = self._hidden(field, known)
        rest = self.patches.unfold(hidden[..., :0] if self.rest is None else self.rest(hidden))
        rest = rest.reshape(*field.shape, self.extra)
        coefficients = self._coefficients()
        for number in range(self.substeps):
            slope = self._slope(hidden if number == 0 else self._hidden(field, known))
            field = self._advance(field, slope, known, coefficients)
        return field, rest

    def _coefficients(self) -> Coefficients | None:
        return None if self.exponential is None else self.exponential.coefficients()

    def _advance(self, field: Tensor, slope: Tensor, known: Tensor | None, coefficients: Coefficients | None) -> Tensor:
        """One substep, whose first slope is known; slopes are changes over a whole substep."""

        def slope_of(field: Tensor) -> Tensor:
            return self._slope(self._hidden(field, known))

        if self.exponential is not None:
            made: Tensor = self.exponential(field, slope, slope_of, coefficients)
            return made
        if self.scheme == "euler":
            return field + slope
        second = slope_of(field + 0.5 * slope)
        if self.scheme == "midpoint":
            return field + second
        third = slope_of(field + 0.5 * second)
        fourth = slope_of(field + third)
        return field + (slope + 2 * (second + third) + fourth) / 6

    def _slope(self, hidden: Tensor) -> Tensor:
        slope = self.patches.unfold(self.tendency(hidden))
        if self.conservative:
            slope = slope - slope.mean(-2, keepdim=True)
        return slope * (self.change / self.substeps)

    def _hidden(self, field: Tensor, known: Tensor | None) -> Tensor:
        hidden: Tensor = self.seen(self.patches.surround(field) @ self.whiten)
        if known is not None:
            hidden = hidden + known
        for layer, gate in zip(self.layers, self.gates, strict=True):
            hidden = gate(hidden, layer(hidden))
        return hidden
