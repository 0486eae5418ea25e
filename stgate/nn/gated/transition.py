"""One step of a field: a local gated network gives the tendency, a scheme in time integrates it over the step."""

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
    """Transition of a field u to its next values, u + the integral over one step of f(u, c), with a context c.

    f is one local network for all patches: a linear map of the whitened nodes that a patch sees, blocks of gated
    feed-forward layers, and a linear map to the tendency of the patch's own nodes, in units of the typical change over
    a step. With `euler` and one substep it is a plain residual map. With more substeps, or a scheme of higher order, it
    is a weight-tied deep network: f is the right-hand side of an ordinary differential equation, and each evaluation
    sees one halo further.

    Args:
        patches: Patches into which the nodes are cut.
        targets: Number of variables of a node.
        context: Number of channels of the context, which is constant over the step; 0 for none.
        extra: Number of further outputs of a node and target, such as a scale.
        width: Number of channels of the local network.
        blocks: Number of gated layers; 0 makes f linear.
        unit: Gated linear unit of these layers: `swiglu`, `geglu`, `glu` or `bilinear`.
        gate: Name of the gate that combines each layer's input with its update, one of `stgate.nn.gates`.
        scheme: Scheme in time: `euler`, `midpoint`, `rk4` or `exponential`.
        substeps: Number of substeps of the scheme in one step.
        conservative: Make the tendency of each target add up to zero over all nodes.

    Attributes:
        change: Typical change over a step, (target,); 1 until it is set.
        whiten: Matrix that whitens the field that a patch sees, (seen, seen); the identity until it is set.

    Raises:
        RequestError: There is no scheme of this name, the substeps are below 1, or the scheme `exponential` is asked
            for on a panel that is not periodic.

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
            raise RequestError(f"substeps {substeps}: must be at least 1")
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
        """Advance a field by one step.

        Args:
            field: Field, (..., node, target), standardised.
            context: Context of each patch, (..., patch, context); None for none.

        Returns:
            The next field, (..., node, target), and the further outputs, (..., node, target, extra), which are computed
            at the start of the step.
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
        """Advance by one substep, given its first slope; slopes are changes over a whole substep."""

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
