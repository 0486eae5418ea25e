"""Options of a roll-out: how one step is made, and how it is trained."""

from __future__ import annotations

from collections.abc import Sequence

from stgate._configured import Configured
from stgate.errors import RequestError, check_counts, check_number
from stgate.nn.feedforward import UnitName
from stgate.nn.gated.transition import SchemeName
from stgate.nn.gates import GateName


class RollOut(Configured):
    """Forecast one step at a time, each fed back into the next, rather than all leads at once.

    One step is a `Transition`: a local gated network gives the tendency, a scheme in time carries
    the field over the step. Training is teacher-forced over the window, then free over the first leads.

    Args:
        unroll: Leads of the free run that the loss counts; None for all of them. Several numbers are a curriculum: each
            holds for an equal part of the fit. Validation rolls out all leads for its scores; its loss counts as many
            as the curriculum's end.
        warm_up: Steps at the start of the window whose one-step forecasts the loss leaves out, while the state settles.
        stateful: Go on from the state in which the batch before left off, where this one follows it in time
            (`WindowData(streams=True)`): truncated backpropagation through time.
        noise: Spread of the Gaussian noise put on the targets of the window in training, in units of the spread of
            their changes from step to step; it teaches the step to come back to the attractor.
        samples: Trajectories of a forecast, each step of each drawn from the likelihood; 0 feeds back the location
            alone, and leaves the spread that of one step.
        width: Of the step's local network.
        blocks: Its gated layers; 0 makes it linear.
        unit: Their kind: `swiglu`, `geglu`, `glu` or `bilinear`.
        gate: How each joins what skips it, by the name of one of `stgate.nn.gates`.
        scheme: `euler`, `midpoint`, `rk4`, or `exponential`, which is of order 4 too, for stiff fields without an edge.
        substeps: Of the scheme in one step.
        conservative: A step leaves the sum of each target over all nodes as it is: for conservation laws, whose free
            runs otherwise drift.

    Raises:
        RequestError: An option is out of range.

    References:
        Williams and Peng (1990), An efficient gradient-based algorithm for on-line training of recurrent network
        trajectories. Neural Computation 2 (truncated backpropagation).
        Bengio et al. (2015), Scheduled sampling for sequence prediction. NeurIPS (free runs in training).
        Sanchez-Gonzalez et al. (2020), Learning to simulate complex physics with graph networks. ICML (the noise).
    """

    def __init__(
        self,
        unroll: int | Sequence[int] | None = None,
        warm_up: int = 0,
        stateful: bool = False,
        noise: float = 0.0,
        samples: int = 0,
        width: int = 64,
        blocks: int = 1,
        unit: UnitName = "swiglu",
        gate: GateName = "additive",
        scheme: SchemeName = "euler",
        substeps: int = 1,
        conservative: bool = False,
    ) -> None:
        check_counts(
            **{"rollout.warm_up": (warm_up, 0), "rollout.samples": (samples, 0)},
            **{"rollout.width": (width, 1), "rollout.blocks": (blocks, 0), "rollout.substeps": (substeps, 1)},
        )
        self.unroll = list(unroll) if isinstance(unroll, list | tuple) else unroll
        leads = self.unroll if isinstance(self.unroll, list) else [1 if unroll is None else unroll]
        if not leads or any(type(lead) is not int or lead < 1 for lead in leads):
            raise RequestError(f"rollout.unroll {unroll!r}: positive numbers of leads, such as 4 or [1, 2, 4]")
        check_number("rollout.noise", noise)
        if noise < 0:
            raise RequestError(f"rollout.noise {noise:g}: must not be negative")
        self.warm_up, self.stateful, self.noise, self.samples = warm_up, stateful, noise, samples
        self.width, self.blocks, self.unit, self.gate = width, blocks, unit, gate
        self.scheme, self.substeps, self.conservative = scheme, substeps, conservative

    def leads(self, horizon: int) -> tuple[int, ...]:
        """The curriculum: leads that the loss counts, one number for each equal part of the fit."""
        if self.unroll is None:
            return (horizon,)
        return (self.unroll,) if isinstance(self.unroll, int) else tuple(self.unroll)
