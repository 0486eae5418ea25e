"""Run of a system, from its options to a panel in memory or in a store."""

from __future__ import annotations

import warnings
from typing import Unpack

import numpy as np
import xarray as xr

from stgate.errors import SimulationWarning
from stgate.simulate.describe import template
from stgate.simulate.engine import Engine
from stgate.simulate.plan import Plan, RunOptions
from stgate.simulate.stream import Memory, Store
from stgate.simulate.system import Array, Attrs, System
from stgate.simulate.verify import valid_ground_truth

TAIL = 1e-10
"""Largest energy at the cut-off, relative to the peak, of a resolved spectral run."""


def simulate(system: System, **options: Unpack[RunOptions]) -> xr.Dataset:
    """Run a system.

    Args:
        system: System to run.
        **options: Options of the run: duration, step, every, members, seed, spinup, initial, out and the others that
            `stgate.simulate.plan.RunOptions` lists.

    Returns:
        A panel over (member, time, node), whose attributes describe the run; opened lazily if `out` was given.

    Raises:
        RequestError: An option is wrong; no work was done.
        SimulationError: A member blew up; the message names it, the time and a step that is safe.
        StoreError: `out` cannot be written.
    """
    plan = Plan.make(system, options)
    if plan.out is None:
        memory = Memory(plan)
        panel, engine = _begin(plan, options)
        with engine:
            watch = TailWatch(plan)
            for first, rows, whole in engine.chunks():
                if whole:
                    memory.write(first, rows)
                    watch(engine)
            return memory.finish(panel.assign_attrs(watch.attrs))
    with Store(plan, overwrite=options.get("overwrite", False), resume=options.get("resume", False)) as store:
        return store.opened() if store.whole else _stream(plan, options, store)


def _stream(plan: Plan, options: RunOptions, store: Store) -> xr.Dataset:
    restart = store.restart()
    if restart is None:
        panel, engine = _begin(plan, options)
        store.begin(panel)
        del panel  # the time axis of a long run is large
        done, held = 0, None
    else:
        done, held, states = restart
        engine = Engine(
            plan, states, plan.discarded + max(done + len(held) - 1, 0) * plan.every, options.get("progress")
        )
        store.resume()
    with engine:
        watch = TailWatch(plan)
        for first, rows, whole in engine.chunks(done, held):
            if whole:
                store.write(first, rows)
                store.save(first + len(rows), rows[:0], engine.states)
                watch(engine)
            else:
                store.save(first, rows, engine.states)
        if done == plan.outputs:  # it was killed after its last chunk
            watch(engine)
        return store.finish(watch.attrs)


def _begin(plan: Plan, options: RunOptions) -> tuple[xr.Dataset, Engine]:
    """Start and spin up; return the panel's coordinates and attributes, and the engine."""
    panel = template(plan)
    if history := options.get("history"):
        panel.attrs["history"] = history
    engine = Engine(plan, plan.states(), 0, options.get("progress"))
    try:
        engine.spin_up()
        if plan.verify:
            panel.attrs.update(valid_ground_truth(plan, engine.states))
    except BaseException:
        engine.__exit__(None, None, None)
        raise
    return panel, engine


class TailWatch:
    """Check of the resolution of a spectral system, chunk by chunk, with one warning if it is too low.

    Args:
        plan: Plan of the run.
    """

    def __init__(self, plan: Plan) -> None:
        self.system, self.warned = plan.system, False
        self.attrs: Attrs = {}

    def __call__(self, engine: Engine) -> None:
        """Check the engine's states and set the attributes.

        Args:
            engine: Engine of the run.
        """
        states: Array = engine.states
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
