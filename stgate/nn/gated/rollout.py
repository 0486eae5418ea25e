"""Options of an autoregressive rollout: the form of one step, and its training."""

from __future__ import annotations

from collections.abc import Sequence

from stgate._configured import Configured, check_options
from stgate.errors import RequestError, check_counts
from stgate.nn.feedforward import UnitName
from stgate.nn.gated.transition import SchemeName
from stgate.nn.gates import GateName


class RollOut(Configured):
    """Autoregressive rollout: forecast one step at a time and feed it back, in place of all leads at once.

    One step is a `Transition`: a local gated network gives the tendency, a scheme in time integrates it. Training is
    teacher-forced over the window and rolls out over the first leads.

    Args:
        unroll: Number of leads of the rollout that the loss counts; None for all of them. Several numbers are a
            curriculum: each holds for an equal part of the fit. Validation rolls out all leads for its scores; its loss
            counts as many as the end of the curriculum.
        warm_up: Number of steps at the start of the window whose one-step forecasts the loss leaves out, while the
            state settles.
        stateful: Continue from the final state of the previous batch if this batch follows it in time, which is
            truncated backpropagation through time; it needs `WindowData(streams=True)`.
        noise: Standard deviation of the Gaussian noise added to the targets of the window in training, in units of the
            standard deviation of their changes from step to step. It teaches the step to return to the attractor.
        samples: Number of trajectories of a forecast, each step of each drawn from the likelihood. 0 feeds back only
            the location and gives the distribution of a single step.
        width: Number of channels of the step's local network.
        blocks: Number of gated layers of the step's local network; 0 makes it linear.
        unit: Gated linear unit of these layers: `swiglu`, `geglu`, `glu` or `bilinear`.
        gate: Name of the gate that combines each layer's input with its update, one of `stgate.nn.gates`.
        scheme: Scheme in time: `euler`, `midpoint`, `rk4`, or `exponential`, which is of order 4 as well and suits
            stiff fields on periodic panels.
        substeps: Number of substeps of the scheme in one step.
        conservative: Keep the sum of each target over all nodes constant in a step. It suits conservation laws, whose
            rollouts drift otherwise.

    Raises:
        RequestError: An option is out of range.

    References:
        Williams and Peng (1990), An efficient gradient-based algorithm for on-line training of recurrent network
        trajectories. Neural Computation 2 (truncated backpropagation).
        Bengio et al. (2015), Scheduled sampling for sequence prediction. NeurIPS (rollouts in training).
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
        check_options(RollOut.__init__, locals(), "rollout.")
        self.unroll = list(unroll) if isinstance(unroll, list | tuple) else unroll
        leads = self.unroll if isinstance(self.unroll, list) else [1 if unroll is None else unroll]
        if not leads or any(type(lead) is not int or lead < 1 for lead in leads):
            raise RequestError(f"rollout.unroll {unroll!r}: must be positive numbers of leads, such as 4 or [1, 2, 4]")
        if noise < 0:
            raise RequestError(f"rollout.noise {noise:g}: must not be negative")
        self.warm_up, self.stateful, self.noise, self.samples = warm_up, stateful, noise, samples
        self.width, self.blocks, self.unit, self.gate = width, blocks, unit, gate
        self.scheme, self.substeps, self.conservative = scheme, substeps, conservative

    def leads(self, horizon: int) -> tuple[int, ...]:
        """Curriculum: numbers of leads that the loss counts, one for each equal part of the fit.

        Args:
            horizon: Number of leads of a forecast.
        """
        if self.unroll is None:
            return (horizon,)
        return (self.unroll,) if isinstance(self.unroll, int) else tuple(self.unroll)
