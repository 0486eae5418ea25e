"""Valid-ground-truth time: the time for which a run agrees with its equation.

Chaos magnifies the truncation error of the step. A twin run at half the step shows for how long a trajectory follows
the equation. A forecast that stays right for longer has learnt the discrete map of the step.
"""

from __future__ import annotations

import warnings

import numpy as np

from stgate.errors import SimulationWarning
from stgate.simulate.plan import Plan
from stgate.simulate.system import Array, Attrs, Place

THRESHOLD = 0.5
"""Normalised root-mean-square difference above which two runs have diverged."""
TAIL = 1e-10
"""Largest energy at the cut-off, relative to the peak, of a resolved spectral run."""
MEMBERS = 4
LONGEST = 20_000
"""Number of steps after which the time is given as a lower bound."""
SAMPLES = 64


def valid_ground_truth(plan: Plan, states: Array) -> Attrs:
    """Run the first members again at half the step, until the two runs diverge.

    NRMSE(t) is the root of the mean over nodes of the squared difference of the leading variable over that variable's
    variance in the finer run; the time is the first sample at which it exceeds 0.5, averaged over up to 4 members.

    Args:
        plan: Plan of the run.
        states: Internal states after the spin-up, (member, internal size).

    Returns:
        Attributes with the mean time, the least time, and a comment on their meaning.

    References:
        Hurley, D., Shaheen, S. (2025), arXiv:2508.06730.
    """
    states, step = states[:MEMBERS], plan.step
    stride = max(1, round(plan.every / 2))
    shape = (SAMPLES, len(states), len(plan.system.variables), plan.system.sites)
    coarse = plan.system.stepper(states, step=step, place=Place(plan.discarded, plan.discarded, plan.seed))
    fine = plan.system.stepper(states, step=step / 2, place=Place(2 * plan.discarded, 2 * plan.discarded, plan.seed))
    errors, values = [], []
    for _ in range(max(LONGEST // (SAMPLES * stride), 1)):
        ours, finer = np.empty(shape), np.empty(shape)
        coarse.record(ours, stride)
        fine.record(finer, 2 * stride)
        values.append(finer[:, :, 0])
        errors.append(((ours - finer)[:, :, 0] ** 2).mean(axis=-1))
        variance = max(float(np.concatenate(values).var()), 1e-300)
        parted = np.sqrt(np.concatenate(errors) / variance) > THRESHOLD  # (time, member)
        if parted.any(axis=0).all():
            times = (parted.argmax(axis=0) + 1) * stride * step
            return _attrs(plan, times, len(states), reached=True)
    longest = len(parted) * stride * step
    times = np.where(parted.any(axis=0), (parted.argmax(axis=0) + 1) * stride * step, longest)
    return _attrs(plan, times, len(states), reached=False)


def _attrs(plan: Plan, times: Array, members: int, *, reached: bool) -> Attrs:
    bound = "" if reached else "; a lower bound: not all of them parted"
    name = next(iter(plan.system.variables))
    return {
        "valid_ground_truth_time": float(f"{times.mean():.6g}"),
        "valid_ground_truth_time_least": float(f"{times.min():.6g}"),
        "valid_ground_truth_comment": f"time until NRMSE of {name} > {THRESHOLD} to a twin run at step "
        f"{plan.step / 2:g}, mean and least of {members} members{bound}",
    }


class TailWatch:
    """Check of the resolution of a spectral system, chunk by chunk, with one warning if it is too low.

    Args:
        plan: Plan of the run.
    """

    def __init__(self, plan: Plan) -> None:
        self.system, self.warned = plan.system, False
        self.attrs: Attrs = {}

    def __call__(self, states: Array) -> None:
        """Check states and set the attributes.

        Args:
            states: Internal states, (member, internal size).
        """
        if np.iscomplexobj(states) and (found := self.system.tail(states)) is not None:
            ratio, grid = found
            self.attrs = {"spectral_tail": float(f"{ratio:.3g}")}
            if ratio > TAIL and not self.warned:
                self.warned = True
                self.attrs["spectral_tail_comment"] = (
                    f"above {TAIL:g}: the grid does not resolve the field, so this is not quite the equation's flow"
                )
                text = f"spectral tail {ratio:.1e}: the grid does not resolve the field; --nodes {grid} would"
                warnings.warn(text, SimulationWarning, stacklevel=4)
