"""Speed of the simulators beside others, in member-steps a CPU second of one core.

Each contender runs in turn, several rounds, in this one process on one core; a figure is the best round's. Needs the
extras `bench` (DAPPER, exponax) and `fast` (numba). Ratios, not the figures themselves, hold on other machines.
"""

import os
import sys
import time
from functools import partial

os.environ["NUMBA_NUM_THREADS"] = "1"
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
os.environ["JAX_ENABLE_X64"] = "1"

import numpy as np

from benchmarks.options import Findings, Options
from benchmarks.registry import benchmark
from benchmarks.tables import table
from stgate.simulate.counting import member_stream
from stgate.simulate.plan import Plan
from stgate.simulate.system import Place
from stgate.simulate.systems.kuramoto_sivashinsky import KuramotoSivashinsky
from stgate.simulate.systems.lorenz96 import Lorenz96

ROUNDS = 7
SECONDS = 0.5
FOREVER = 10**12


def states_of(system, members):
    streams = (member_stream(system.name, 0, member) for member in range(members))
    return np.stack([system.initial(stream) for stream in streams])


def ours(system, members, step, *, compiled):
    """Step the blocks that a run of so many members has."""
    plan = Plan.make(system, {"members": members, "workers": 1, "step": step})
    states = system.encode(states_of(system, members))
    place = Place(planned=FOREVER if compiled else 0)
    steppers = [system.stepper(states[b.start : b.stop], step=step, place=place) for b in plan.blocks]

    def advance(steps):
        for stepper in steppers:
            stepper.advance(steps)

    return advance


def dapper(members):
    from dapper.mods.Lorenz96 import step

    state = states_of(Lorenz96(), members)
    state = state[0] if members == 1 else state

    def advance(steps):
        nonlocal state
        for _ in range(steps):
            state = step(state, 0.0, 0.01)

    return advance


def plain_numpy(system, members, step):
    """A plain loop: all members at once, every array preallocated, the nonlinear term as in the textbook."""
    n = system.sites
    waves = np.arange(n // 2 + 1)
    k = 2 * np.pi * waves / system.length
    growth = k**2 - k**4
    g = np.where(waves <= (n - 1) // 3, -0.5j * k, 0)
    circle = step * growth[:, None] + np.exp(2j * np.pi * (np.arange(32) + 0.5) / 32)
    e = np.exp(circle)
    whole, half = np.exp(step * growth), np.exp(step * growth / 2)
    q = step * ((np.exp(circle / 2) - 1) / circle).mean(1).real
    f1 = step * ((-4 - circle + e * (4 - 3 * circle + circle**2)) / circle**3).mean(1).real
    f2 = 2 * step * ((2 + circle + e * (circle - 2)) / circle**3).mean(1).real
    f3 = step * ((-4 - 3 * circle - circle**2 + e * (4 - circle)) / circle**3).mean(1).real
    v = np.fft.rfft(states_of(system, members))
    u = np.empty((members, n))
    nv, na, nb, nc, a, b, c, w = (np.empty_like(v) for _ in range(8))

    def nonlinear(spectrum, out):
        np.fft.irfft(spectrum, n, out=u)
        np.multiply(u, u, out=u)
        np.fft.rfft(u, out=out)
        np.multiply(out, g, out=out)

    def advance(steps):
        for _ in range(steps):
            nonlinear(v, nv)
            np.multiply(v, half, out=w)
            np.multiply(nv, q, out=a)
            np.add(a, w, out=a)
            nonlinear(a, na)
            np.multiply(na, q, out=b)
            np.add(b, w, out=b)
            nonlinear(b, nb)
            np.multiply(a, half, out=c)
            np.multiply(nb, 2, out=w)
            np.subtract(w, nv, out=w)
            np.multiply(w, q, out=w)
            np.add(c, w, out=c)
            nonlinear(c, nc)
            np.multiply(v, whole, out=v)
            np.multiply(nv, f1, out=nv)
            np.add(v, nv, out=v)
            np.add(na, nb, out=na)
            np.multiply(na, f2, out=na)
            np.add(v, na, out=v)
            np.multiply(nc, f3, out=nc)
            np.add(v, nc, out=v)

    return advance


def exponax(system, members, step):
    import exponax as ex
    import jax

    stepper = ex.stepper.KuramotoSivashinskyConservative(
        num_spatial_dims=1, domain_extent=system.length, num_points=system.sites, dt=step, order=4
    )
    run = jax.jit(jax.vmap(ex.repeat(stepper, 100)))
    state = jax.numpy.asarray(states_of(system, members))[:, None]

    def advance(steps):
        nonlocal state
        for _ in range(max(steps // 100, 1)):
            state = run(state)
        state.block_until_ready()

    return advance


def compare(contenders, members, rounds, seconds):
    """Best member-steps a CPU second of each, turn by turn."""
    steps = {}
    for name, advance in contenders.items():
        advance(100)  # compiles what is compiled
        started = time.process_time()
        advance(100)
        steps[name] = max(100, round(seconds / max(time.process_time() - started, 1e-6)) * 100)
    best = dict.fromkeys(contenders, 0.0)
    for _ in range(rounds):
        for name, advance in contenders.items():
            started = time.process_time()
            advance(steps[name])
            best[name] = max(best[name], members * steps[name] / (time.process_time() - started))
    return best


def compile_seconds():
    """Wall seconds to the first compiled step, with an empty cache on disk and with the one it left behind."""
    import subprocess
    import tempfile

    code = (
        "import time, numpy as np; from stgate.simulate.integrators.fast import FastLorenz96; t = time.perf_counter();"
        "FastLorenz96(np.ones((1, 40)), np.ones(40), 0.01).advance(1); print(time.perf_counter() - t)"
    )
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
        command = [sys.executable, "-c", code]
        run = partial(subprocess.run, command, env=environment, capture_output=True, text=True, check=True)
        runs = [run(), run()]
    return [round(float(run.stdout), 2) for run in runs]


def round_to_three(figures):
    return {name: float(f"{value:.3g}") for name, value in figures.items()}


def lorenz96(members, rounds, seconds):
    system = Lorenz96()
    contenders = {
        "dapper": dapper(members),
        "numpy": ours(system, members, 0.01, compiled=False),
        "numba": ours(system, members, 0.01, compiled=True),
    }
    return round_to_three(compare(contenders, members, rounds, seconds))


def kuramoto_sivashinsky(length, nodes, members, rounds, seconds):
    system = KuramotoSivashinsky(length=length, nodes=nodes)
    contenders = {
        "plain": plain_numpy(system, members, 0.0625),
        "stgate": ours(system, members, 0.0625, compiled=False),
        "exponax": exponax(system, members, 0.0625),
    }
    return round_to_three(compare(contenders, members, rounds, seconds))


@benchmark(
    "simulators",
    claim="the simulators are as fast as DAPPER, a plain in-place numpy loop and jitted exponax, or faster",
    cost="10 minutes; the extras bench and fast",
    quick="one short round of one and 32 members",
    seeds=(0,),
    one_thread=True,
)
def run(options: Options):
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # one core, whatever a library would like
    effort = (1, 0.05) if options.quick else (ROUNDS, SECONDS)
    figures = {"lorenz96": {}, "kuramoto_sivashinsky": {}}
    for members in (1, 32) if options.quick else (1, 32, 1024):
        figures["lorenz96"][members] = found = lorenz96(members, *effort)
        print(members, found, flush=True)
    for length, nodes in ((22.0, 64), (200.0, 512)):
        for members in (1, 32) if options.quick else (1, 32, 1000):
            found = kuramoto_sivashinsky(length, nodes, members, *effort)
            figures["kuramoto_sivashinsky"][f"{nodes} x {members}"] = found
            print(nodes, members, found, flush=True)
    figures["first compiled step, seconds: no cache, cache"] = compile_seconds()
    note = "member-steps a CPU second of one core, float64, turn by turn, best round."
    return Findings("Speed of the simulators", tables(figures), figures, note)


def tables(figures):
    lines = table(
        [
            *("Lorenz-96, N = 40, RK4: members", "DAPPER", "stgate, numpy"),
            *("over DAPPER", "stgate, numba", "over numpy"),
        ],
        (
            [
                *(f"{members:,}", f"{f['dapper']:.2g}", f"{f['numpy']:.2g}", f"{f['numpy'] / f['dapper']:.1f}"),
                *(f"{f['numba']:.2g}", f"{f['numba'] / f['numpy']:.1f}"),
            ]
            for members, f in figures["lorenz96"].items()
        ),
    )
    lines += [""]
    lines += table(
        [
            *("KS, ETDRK4: grid x members", "in-place numpy", "stgate"),
            *("over it", "exponax, jit", "over exponax"),
        ],
        (
            [
                *(size, f"{f['plain']:.2g}", f"{f['stgate']:.2g}", f"{f['stgate'] / f['plain']:.2f}"),
                *(f"{f['exponax']:.2g}", f"{f['stgate'] / f['exponax']:.2f}"),
            ]
            for size, f in figures["kuramoto_sivashinsky"].items()
        ),
    )
    cold, warm = figures["first compiled step, seconds: no cache, cache"]
    return [*lines, "", f"The first compiled step takes {cold} s, and {warm} s once the compiled code is kept on disk."]
