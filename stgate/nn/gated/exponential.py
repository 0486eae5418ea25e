"""Exponential Runge-Kutta scheme for stiff fields, which integrates a learned linear operator exactly."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from stgate.errors import RequestError
from stgate.nn.patches import Patches

ORDER = 4
"""Highest power of the discrete Laplacian in the operator; it reaches derivatives up to twice this order."""
CONTOUR = 32
"""Number of points of the contour over which functions of the operator are averaged; near zero they lose all digits."""
GROWTH = 1.0
"""Logarithm of the largest growth of a wave by the operator alone in one substep."""

Coefficients = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
"""Coefficients of the propagator over half a step, the slope there, and the first, middle two and last slopes."""


class ExponentialScheme(nn.Module):
    """Scheme of Cox and Matthews for u' = L u + N(u), with a learned operator L that is the same at all nodes.

    On a ring or torus L multiplies each wave by a number: a polynomial in the symbol of the discrete Laplacian, plus
    such polynomials times the central difference along each axis. Its exponential over a step is exact however stiff L
    is, and has no limit of reach, while N sees a halo only. At first L is zero and the scheme is the classical RK4.

    Args:
        patches: Patches into which the nodes are cut.
        targets: Number of variables of a node; each has its own operator.
        substeps: Number of substeps in one step.
        conservative: Keep the sum over all nodes constant.

    Raises:
        RequestError: The panel is not periodic.

    References:
        Cox and Matthews (2002), Exponential time differencing for stiff systems. doi:10.1006/jcph.2002.6995
        Kassam and Trefethen (2005), Fourth-order time-stepping for stiff PDEs. SIAM Journal on Scientific Computing 26.
    """

    def __init__(self, patches: Patches, targets: int, substeps: int = 1, *, conservative: bool = False) -> None:
        super().__init__()
        if not patches.periodic:
            raise RequestError("scheme exponential: needs a periodic panel, this one has an edge; give rk4")
        self.shape, self.substeps = patches.shape, substeps
        self.axes = tuple(range(-1 - len(self.shape), -1))
        self.symbols = _symbols(self.shape)  # no buffer: the same for all members of an ensemble
        if conservative:
            self.symbols[(0, *(0 for _ in self.shape))] = 0.0  # only the constant term acts on the longest wave
        self.operator = nn.Parameter(torch.zeros(len(self.symbols), targets))

    def _apply(self, fn: Any, *rest: Any) -> ExponentialScheme:  # noqa: ANN401 (of torch)
        made = cast(ExponentialScheme, super()._apply(fn, *rest))  # type: ignore[no-untyped-call]
        if self.operator.device.type != "mps":  # has no complex128
            self.symbols = self.symbols.to(self.operator.device)
        return made

    def coefficients(self) -> Coefficients:
        """Compute the functions of the operator, each (*wave, target)."""
        wide = torch.complex64 if self.operator.device.type == "mps" else torch.complex128
        symbols = self.symbols.to(self.operator.device, wide)
        exponent = torch.einsum("k...,kt->...t", symbols, self.operator.to(wide)) / self.substeps
        exponent = torch.complex(exponent.real.clamp(max=GROWTH), exponent.imag)
        angles = 2 * math.pi * (torch.arange(CONTOUR, dtype=torch.float64, device=exponent.device) + 0.5) / CONTOUR
        z = exponent.unsqueeze(-1) + torch.polar(torch.ones_like(angles), angles).to(exponent)
        grown, cube = z.exp(), z**3
        made = (
            (exponent / 2).exp(),
            (((z / 2).exp() - 1) / z).mean(-1),
            ((-4 - z + grown * (4 - 3 * z + z**2)) / cube).mean(-1),
            ((4 + 2 * z + grown * (2 * z - 4)) / cube).mean(-1),
            ((-4 - 3 * z - z**2 + grown * (4 - z)) / cube).mean(-1),
        )
        narrow = torch.complex128 if self.operator.dtype == torch.float64 else torch.complex64
        half, slope, first, middle, last = (number.to(narrow) for number in made)
        return half, slope, first, middle, last

    def forward(
        self, field: Tensor, slope: Tensor, slope_of: Callable[[Tensor], Tensor], coefficients: Coefficients
    ) -> Tensor:
        """Advance a field by one substep.

        Args:
            field: Field, (..., node, target).
            slope: N of this field, as the change over a whole substep.
            slope_of: Function that computes N of any field.
            coefficients: Coefficients of the current operator, from `coefficients()`.

        Returns:
            Field after the substep, (..., node, target).
        """
        half, ahead, first, middle, last = coefficients
        passed = half * self._waves(field)
        one = self._waves(slope)
        early = passed + ahead * one
        two = self._waves(slope_of(self._field(early)))
        three = self._waves(slope_of(self._field(passed + ahead * two)))
        four = self._waves(slope_of(self._field(half * early + ahead * (2 * three - one))))
        return self._field(half * passed + first * one + middle * (two + three) + last * four)

    def _waves(self, field: Tensor) -> Tensor:
        made: Tensor = torch.fft.rfftn(field.unflatten(-2, self.shape), dim=self.axes)  # type: ignore[no-untyped-call]
        return made

    def _field(self, waves: Tensor) -> Tensor:
        made: Tensor = torch.fft.irfftn(waves, s=self.shape, dim=self.axes)
        return made.flatten(self.axes[0], -2)


def _symbols(shape: tuple[int, ...]) -> Tensor:
    """Symbols (term, *wave): powers of the discrete Laplacian, and all but the last times each axis' difference."""
    angles = [torch.fft.fftfreq(length, dtype=torch.float64) for length in shape[:-1]]
    angles.append(torch.fft.rfftfreq(shape[-1], dtype=torch.float64))
    grid = torch.meshgrid(*(2 * math.pi * angle for angle in angles), indexing="ij")
    laplacian = -sum((2 * torch.sin(angle / 2)) ** 2 for angle in grid)
    assert isinstance(laplacian, Tensor)
    even = [laplacian**power for power in range(ORDER + 1)]
    odd = [1j * torch.sin(angle) * term for angle in grid for term in even[:-1]]
    return torch.stack([*(term.to(torch.complex128) for term in even), *odd])
