"""A run whose members are run in blocks, on the workers of a dask cluster: each has the bits that it has in any run."""

from __future__ import annotations

import dataclasses
import functools
import os
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from stgate.errors import SimulationError, SimulationWarning
from stgate.io.cluster import run_blocks
from stgate.io.safe.blocks import BlockStore, note_of, write_note
from stgate.io.safe.zarr_folder import ZarrFolder
from stgate.simulate.describe import identity, template
from stgate.simulate.engine import Engine
from stgate.simulate.plan import Plan, RunOptions
from stgate.simulate.verify import MEMBERS, TailWatch, valid_ground_truth

BLOCKS = 32
"""Most blocks of members."""


class MemberStore(BlockStore):
    """A store whose members are written in blocks."""

    warning = SimulationWarning
    hopeless = (SimulationError,)


def run_members(plan: Plan, options: RunOptions, dask: str) -> xr.Dataset:
    """Run blocks of members on a cluster, into a zarr store.

    Args:
        plan: Plan of the run.
        options: Options of the run, by name.
        dask: `local:N` or the address of a scheduler.

    Returns:
        The panel, opened lazily.
    """
    assert plan.out is not None
    size = -(-plan.members // BLOCKS)
    count = -(-plan.members // size)
    described = {**identity(plan), "members_in_a_block": size}
    overwrite, resume = options.get("overwrite", False), options.get("resume", False)
    with MemberStore(plan.out, described, plan.nbytes, overwrite=overwrite, resume=resume) as store:
        if store.whole:
            return store.opened()
        if not store.started():
            _begin(plan, options, store, size)
        done, progress = set(store.notes()), options.get("progress")
        work = functools.partial(_run_block, dataclasses.replace(plan, out=None), os.path.abspath(store.partial), size)
        for number in run_blocks(work, [number for number in range(count) if number not in done], dask):
            done.add(number)
            if progress:
                progress(plan.steps * len(done) // count, plan.steps)
        return store.finish(_tail(plan, store.partial, count))


def _begin(plan: Plan, options: RunOptions, store: MemberStore, size: int) -> None:
    panel = template(plan)
    if history := options.get("history"):
        panel.attrs["history"] = history
    if plan.verify:
        few = part_of(plan, 0, min(MEMBERS, plan.members))
        with Engine(few, few.states(), 0, None) as engine:
            engine.spin_up()
            panel.attrs.update(valid_ground_truth(plan, engine.states))
    empty = np.broadcast_to(np.zeros((), plan.dtype), (1, plan.outputs, plan.system.sites))
    variables: dict[str, Any] = {n: (("member", "time", "node"), empty, a) for n, a in plan.system.variables.items()}
    axis = {name: coord.variable for name, coord in panel.coords.items() if "member" in coord.dims}
    sample = panel.isel(member=[0]).assign(variables)
    store.begin(sample, axis, "member", plan.members, {"member": size, "time": part_of(plan, 0, size).chunk})


def part_of(plan: Plan, first: int, members: int) -> Plan:
    """Return the plan of some of the members.

    Args:
        plan: Plan of the run.
        first: Number of the first of them.
        members: Their number.
    """
    given = None if plan.given is None else plan.given[first : first + members]
    return dataclasses.replace(plan, first=plan.first + first, members=members, given=given, workers=1)


def _run_block(plan: Plan, partial: str, size: int, number: int) -> None:
    """Run a block of members, and write it."""
    first = number * size
    members = slice(first, min(first + size, plan.members))
    part = part_of(plan, first, members.stop - first)
    group: Any = zarr.open_group(ZarrFolder(Path(partial) / "data"), mode="r+")
    arrays = [group[name] for name in plan.system.variables]
    with Engine(part, part.states(), 0, None) as engine:
        engine.spin_up()
        for at, rows, whole in engine.chunks():
            if whole:
                for index, array in enumerate(arrays):
                    array[members, at : at + len(rows)] = np.ascontiguousarray(rows[:, :, index].transpose(1, 0, 2))
        write_note(Path(partial), number, {"states": engine.states})


def _tail(plan: Plan, partial: Path, count: int) -> dict[str, Any]:
    """Return the attributes of the resolution of a spectral system, from the last states of all members."""
    states = np.concatenate([note_of(partial, number)["states"] for number in range(count)])
    watch = TailWatch(plan)
    watch(states)
    return watch.attrs
