"""Plan of a run, made and checked before any work: numbers of steps, members, initial states and blocks."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict, get_args

import numpy as np
from numpy.typing import ArrayLike

from stgate._memory import free_memory, size_text
from stgate.errors import RequestError, SimulationWarning, did_you_mean
from stgate.io.cluster import check_dask
from stgate.simulate.counting import member_stream, steps_in
from stgate.simulate.system import Array, System, number, positive, whole

if TYPE_CHECKING:
    import xarray as xr

Progress = Callable[[int, int], None]
"""Function called with the steps done and the total steps."""

CHUNK = 2**23
"""Number of bytes in a chunk of output."""
DTypeName = Literal["float32", "float64"]
DTYPES: tuple[DTypeName, ...] = get_args(DTypeName)


class RunOptions(TypedDict, total=False):
    """Options of a run, the same for every system.

    duration: Model time from the first to the last state kept.
    step: Integration step, in model time.
    every: Output stride: number of steps from one kept state to the next.
    members: Number of independent trajectories; member i does not depend on this number.
    seed: Seed of the initial states.
    spinup: Model time discarded at the start; 0 by default if an initial state is given.
    initial: Initial state, (node,) or (member, node), or a panel whose last time is the initial state.
    dtype: Type of the kept values, `float32` or `float64`; all computation is in float64.
    verify: Measure the valid-ground-truth time by a twin run at half the step.
    force: Run although the step is above the system's limit.
    workers: Number of threads over blocks of members; one for each core by default. The bits do not depend on it.
    out: Path of a .zarr store to stream to; the panel is then opened lazily.
    overwrite: Replace an existing `out`.
    resume: Continue the stopped run of `out`; it ends in the same bits.
    dask: `local:N` for N processes of this machine, or the address of a dask scheduler, whose workers run blocks of
        members into `out`.
    history: Line for the panel's history.
    progress: Function called with (steps done, total steps).
    """

    duration: float
    step: float
    every: int
    members: int | None
    seed: int
    spinup: float | None
    initial: ArrayLike | xr.Dataset | None
    dtype: DTypeName
    verify: bool
    force: bool
    workers: int | None
    out: str | os.PathLike[str] | None
    overwrite: bool
    resume: bool
    dask: str | None
    history: str | None
    progress: Progress | None


@dataclass(frozen=True)
class Plan:
    """Plan of a run, with checked numbers."""

    system: System
    step: float
    every: int
    outputs: int
    """Number of states kept, the first one included."""
    discarded: int
    """Number of steps of the spin-up."""
    members: int
    seed: int
    given: Array | None
    """Given initial states, (member, size); None for seeded ones."""
    dtype: str
    verify: bool
    workers: int
    out: Path | None
    first: int = 0
    """Number of the first member, of a part of a run."""

    @classmethod
    def make(cls, system: System, options: RunOptions) -> Plan:
        """Check the options of a run and fill in the defaults.

        Args:
            system: System to run.
            options: Options of the run, by name.

        Raises:
            RequestError: The step does not divide a span or is above the limit, or an initial state or number is wrong.
        """
        for name in options:
            if name not in RunOptions.__annotations__:
                known = [*RunOptions.__annotations__, *system.parameters]
                raise RequestError(f"{name}: no such option of {system.name}; {did_you_mean(name, known)}")
        defaults = system.defaults
        step = number("step", options.get("step", defaults.step))
        every = whole("every", options.get("every", defaults.every))
        positive(every=every)
        if not (math.isfinite(step) and step > 0):
            raise RequestError(f"step {step:g}: must be positive")
        kept = f"kept states (every {every} steps of {step:g})" if every > 1 else "steps"
        outputs = _steps(options.get("duration"), defaults.duration, every * step, "duration", kept) + 1
        if (dask := options.get("dask")) is not None:
            check_dask(dask)
        given = _given(system, options.get("initial"))
        spinup = options.get("spinup")
        members = options.get("members")
        if given is not None:
            if members not in (None, len(given)):
                raise RequestError(f"members {members}: {len(given)} initial states were given; leave members out")
            members = len(given)
        members = 1 if members is None else whole("members", members)
        seed, dtype = whole("seed", options.get("seed", 0)), _dtype(options.get("dtype", "float32"))
        workers = options.get("workers")
        workers = _cores() if workers is None else whole("workers", workers)
        positive(members=members, workers=workers)
        if not 0 <= seed < 2**63:
            raise RequestError(f"seed {seed}: must be between 0 and 2^63")
        for name in ("overwrite", "resume", "dask"):
            if options.get(name) and options.get("out") is None:
                raise RequestError(f"{name}: only used with out, the store to stream to; give out")
        _check_memory(system, members)
        check_step(system, step, force=options.get("force", False))
        if given is not None and (why := system.symmetry(given)):
            warnings.warn(f"initial state: {why}; add some noise for a generic one", SimulationWarning, stacklevel=4)
        out = options.get("out")
        return cls(
            system=system,
            step=step,
            every=every,
            outputs=outputs,
            discarded=_steps(spinup, defaults.spinup if given is None else 0.0, step, "spinup", "steps"),
            members=members,
            seed=seed,
            given=given,
            dtype=dtype,
            verify=options.get("verify", True) and bool(system.zeros or given is not None),
            workers=workers,
            out=None if out is None else Path(out),
        )

    @property
    def steps(self) -> int:
        """Total number of steps, the spin-up included."""
        return self.discarded + (self.outputs - 1) * self.every

    @property
    def nbytes(self) -> int:
        """Number of bytes of the panel's variables."""
        return self.outputs * self.row_bytes

    @property
    def row_bytes(self) -> int:
        """Number of bytes of one time of all members."""
        return self.members * len(self.system.variables) * self.system.sites * np.dtype(self.dtype).itemsize

    @property
    def chunk(self) -> int:
        """Number of times in a chunk of output."""
        return min(max(CHUNK // self.row_bytes, 1), self.outputs)

    @property
    def blocks(self) -> list[range]:
        """Members of each block: few enough for the cache, with work for every core."""
        most = max(self.system.block // self.system.dimension, 1)
        fair = -(-self.members // self.workers)
        size = min(most, fair) if self.members * self.system.dimension > self.system.block // 4 else self.members
        return [range(first, min(first + size, self.members)) for first in range(0, self.members, size)]

    @property
    def bound(self) -> float:
        """Magnitude that kept values reach only if the run blew up."""
        return max(self.system.bound, 100 * float(np.abs(self.given).max()) if self.given is not None else 0.0)

    def states(self) -> Array:
        """Make the initial internal states, (member, internal size)."""
        if self.given is not None:
            return self.system.encode(self.given)
        streams = (
            member_stream(self.system.name, self.seed, member)
            for member in range(self.first, self.first + self.members)
        )
        return self.system.encode(np.stack([self.system.initial(stream) for stream in streams]))


def _steps(span: float | None, default: float, step: float, name: str, what: str) -> int:
    """Number of steps of a span: a given span must be a whole number of steps, the default is rounded up."""
    return math.ceil(default / step - 1e-9) if span is None else steps_in(number(name, span), step, name, what)


def _dtype(given: object) -> str:
    """Read `float32` or `float64`, in any of numpy's spellings."""
    try:
        name = np.dtype(given).name  # type: ignore[call-overload]
    except TypeError:
        name = str(given)
    if name not in DTYPES:
        raise RequestError(f"dtype {name}: {did_you_mean(name, DTYPES)}")
    return str(name)


def _check_memory(system: System, members: int) -> None:
    """Refuse states that do not fit in memory with the work arrays of a step."""
    needed, room = 10 * 8 * members * system.dimension, free_memory()
    if room is not None and needed > room:
        raise RequestError(
            f"{members:,} members of {system.dimension:,} values: their steps take {size_text(needed)} of memory, "
            f"{size_text(room)} are free; run fewer members at once (member i is the same in every run)"
        )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_step(system: System, step: float, *, force: bool) -> None:
    """Warn of a step that is inaccurate; refuse a step that blows up or gives wrong results.

    Args:
        system: System to run.
        step: Integration step.
        force: Do not refuse the step.

    Raises:
        RequestError: The step is beyond the system's limit and `force` is off.
    """
    limits = system.limits
    if step > limits.refuse and not force:
        raise RequestError(f"step {step:g}: {limits.why}; at most {limits.warn:.2g} is safe (--force runs it anyway)")
    if step > limits.warn:
        text = f"step {step:g}: {limits.why}; at most {limits.warn:.2g} is safe"
        warnings.warn(text, SimulationWarning, stacklevel=5)


def _given(system: System, initial: ArrayLike | xr.Dataset | None) -> Array | None:
    """Copy the initial states to (member, size), since steps in place must not change the caller's array."""
    if initial is None:
        return None
    import xarray as xr  # takes longer to import than all that a run without it needs

    from stgate.schema.panel import some

    if isinstance(initial, str | os.PathLike):
        raise RequestError(f"initial: {os.fspath(initial)!r} is a path; open it first with stgate.open_panel")
    if isinstance(initial, xr.Dataset):
        missing = [name for name in system.state_variables if name not in initial.data_vars]
        if missing:
            raise RequestError(
                f"initial: the panel has no variable {some(missing)}, which is part of the state of {system.name}"
                + ("; simulate it with all --scales" if "scales" in system.parameters else "")
            )
        last = initial.isel(time=-1) if "time" in initial.dims else initial
        last = last if "member" in last.dims else last.expand_dims("member")
        fields = {name: last[name].transpose("member", "node").values for name in system.state_variables}
        sizes = {values.shape[1] for values in fields.values()}
        if sizes != {system.sites}:
            raise RequestError(f"initial: the panel has {some(sorted(sizes))} nodes, the system {system.sites}")
        states = system.gather(fields)
    else:
        wrong = RequestError("initial: must be an array of numbers or a panel")
        if np.iscomplexobj(initial):
            raise wrong
        try:
            states = np.atleast_2d(np.asarray(initial, dtype=np.float64))
        except (TypeError, ValueError) as error:
            raise wrong from error
        if states.ndim != 2 or states.shape[1] != system.dimension or not len(states):
            raise RequestError(
                f"initial: shape {states.shape}; one state of {system.name} has {system.dimension} values"
            )
    states = np.array(states, dtype=np.float64)
    if not np.isfinite(states).all():
        raise RequestError("initial: not all values are finite")
    return states
