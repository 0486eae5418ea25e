"""Coordinates and attributes of a simulated panel."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import xarray as xr

from stgate.simulate.plan import Plan
from stgate.simulate.reference import known_exponent
from stgate.simulate.system import Attrs


def identity(plan: Plan) -> Attrs:
    """List the attributes that determine a run's bits; a stopped run is resumed only if all of them agree.

    Args:
        plan: Plan of the run.
    """
    from stgate._version import __version__

    initial = "seeded"
    if plan.given is not None:
        initial = f"given, sha256 {hashlib.sha256(np.ascontiguousarray(plan.given).tobytes()).hexdigest()[:16]}"
    return {
        "system": plan.system.name,
        "parameters": json.dumps(plan.system.parameters),
        "duration": (plan.outputs - 1) * plan.every * plan.step,
        "step": plan.step,
        "every": plan.every,
        "spinup": plan.discarded * plan.step,
        "members": plan.members,
        "seed": plan.seed,
        "initial_state": initial,
        "stored_as": plan.dtype,
        "stgate_version": __version__,
    }


def template(plan: Plan) -> xr.Dataset:
    """Make the panel without its variables.

    Args:
        plan: Plan of the run.
    """
    from stgate._version import __version__

    system = plan.system
    attrs: Attrs = {
        "Conventions": "CF-1.11",
        "title": system.title,
        "source": f"stgate {__version__} simulate {system.name}",
        "equation": system.equation,
        **identity(plan),
        "integrator": system.integrator,
        "computed_in": "float64",
        "random_streams": "Philox on SeedSequence(seed, spawn_key=(crc32 of the system, member))",
        "numpy_version": np.__version__,
        **system.attrs(plan.seed),
        **known_exponent(system.name, system.parameters),
    }
    counts = np.arange(plan.outputs, dtype=np.float64)  # whole numbers, exact in float64
    counts *= plan.every
    members = ("member", np.arange(plan.members), {"standard_name": "realization", "units": "1"})
    return xr.Dataset(
        coords={"member": members, "time": system.times(counts, plan.step), **system.coords(plan.seed)}, attrs=attrs
    )
