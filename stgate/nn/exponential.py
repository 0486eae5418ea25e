"""A Runge-Kutta scheme for stiff fields, whose coefficients are learned local filters."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from stgate.nn.patches import Patches

RATE = 0.2
"""What a learned weight of a filter counts: it slows the filters down to the pace of the network."""
COEFFICIENTS = (1 / 2, 1 / 6, 1 / 3, 1 / 6)
"""Of the slopes: in a half step, and of the first, the middle two and the last in the whole one."""


class ExponentialScheme(nn.Module):
    """The scheme of Cox and Matthews for u' = L u + N(u), with learned filters for the functions of the unknown L.

    With slopes k of N, and E for exp(L h / 2):

        a = E u + Q k1,  b = E u + Q k2,  c = E a + Q (2 k3 - k1),  E E u + F1 k1 + F2 (k2 + k3) + F3 k4.

    E starts as the identity, Q, F1, F2, F3 as 1/2, 1/6, 1/3, 1/6 of it: the classical scheme of order 4. Each is a
    linear map of what a patch sees, in whitened coordinates, so that scales on which the field hardly varies, whose
    decay no data can teach, are damped from the start.

    Args:
        patches: How nodes are cut.
        targets: Variables a node.

    References:
        Cox and Matthews (2002), Exponential time differencing for stiff systems. doi:10.1006/jcph.2002.6995
    """

    identity: Tensor

    def __init__(self, patches: Patches, targets: int) -> None:
        super().__init__()
        self.patches = patches
        seen, own = patches.reach * targets, patches.size * targets
        self.register_buffer("identity", torch.zeros(seen, own))
        self.propagator = nn.Parameter(torch.zeros(seen, own))
        self.slopes = nn.Parameter(torch.zeros(len(COEFFICIENTS), seen, own))
        self.targets = targets
        self.settle(torch.eye(seen), torch.ones(seen))

    @torch.no_grad()
    def settle(self, whiten: Tensor, variances: Tensor) -> None:
        """Start from the identity in these coordinates, directions of a variance far below their floor left out.

        Args:
            whiten: (seen, seen).
            variances: (seen,), of the directions that its columns scale.
        """
        inside = (self.patches.inside[:, None] * self.targets + torch.arange(self.targets)).flatten()
        self.identity.copy_(variances[:, None] * whiten[inside].T)

    def forward(self, state: Tensor, first: Tensor, slope: Callable[[Tensor], Tensor], whiten: Tensor) -> Tensor:
        """One substep.

        Args:
            state: (..., patch, own).
            first: The slope there, a change over a whole substep.
            slope: Of any state.
            whiten: (seen, seen).
        """
        pass_on = whiten @ (self.identity + RATE * self.propagator)
        half, one, two, three = (
            whiten @ (c * self.identity + RATE * own) for c, own in zip(COEFFICIENTS, self.slopes, strict=True)
        )
        begun = self._seen(state) @ pass_on
        first = self._seen(first)
        early = begun + first @ half
        second = self._seen(slope(early))
        third = self._seen(slope(begun + second @ half))
        late = self._seen(early) @ pass_on + (2 * third - first) @ half
        last = self._seen(slope(late))
        made: Tensor = self._seen(begun) @ pass_on + first @ one + (second + third) @ two + last @ three
        return made

    def _seen(self, own: Tensor) -> Tensor:
        return self.patches.surround(self.patches.unfold(own))
