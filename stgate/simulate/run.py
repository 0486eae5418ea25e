"""Run of a system, from its options to a panel in memory or in a store."""

from __future__ import annotations

from typing import Unpack

import xarray as xr

from stgate.simulate.describe import template
from stgate.simulate.engine import Engine
from stgate.simulate.members import run_members
from stgate.simulate.plan import Plan, RunOptions
from stgate.simulate.stream import Memory, Store
from stgate.simulate.system import System
from stgate.simulate.verify import TailWatch, valid_ground_truth


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
                    watch(engine.states)
            return memory.finish(panel.assign_attrs(watch.attrs))
    if (dask := options.get("dask")) is not None:
        return run_members(plan, options, dask)
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
                watch(engine.states)
            else:
                store.save(first, rows, engine.states)
        if done == plan.outputs:  # it was killed after its last chunk
            watch(engine.states)
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
