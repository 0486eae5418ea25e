"""Lyapunov exponents against what is known of them.

Long runs of `stgate.simulate.lyapunov`. They are the source of the reference table that ships with the package,
stgate/simulate/lyapunov.json, which is written case by case unless the results go elsewhere (`--out`, `--quick`). A bar
is missed where a figure is out of its tolerance.
"""

import json
import time
import warnings
from pathlib import Path

import stgate
from benchmarks.options import Findings, Options
from benchmarks.record import write
from benchmarks.registry import RESULTS, BenchmarkError, benchmark
from benchmarks.tables import row, table
from stgate.errors import SimulationWarning
from stgate.simulate import lyapunov

L96, KS = "lorenz96", "kuramoto_sivashinsky"
# What must be seen, as (expected, tolerance); the spectrum in falling order. D is the Kaplan-Yorke dimension.
CASES = {
    "l96-40": (
        L96,
        {"nodes": 40, "forcing": 8.0},
        {"step": 0.01, "duration": 2000.0, "members": 16},
        {"exponent": (1.69, 0.03), "positive": (13, 0), "D": (27.1, 0.2), "total": (-40.0, 1e-4)},
    ),
    "l96-36": (
        L96,
        {"nodes": 36, "forcing": 8.0},
        {"step": 0.01, "duration": 2000.0, "members": 16},
        {"exponent": (1.672, 0.03), "D": (24.37, 0.2), "total": (-36.0, 1e-4)},
    ),
    "l96-40-10": (
        L96,
        {"nodes": 40, "forcing": 10.0},
        {"step": 0.01, "duration": 2000.0, "members": 16},
        {"exponent": (2.304, 0.03), "D": (29.45, 0.2), "total": (-40.0, 1e-3)},
    ),
    "l96-4-20": (
        L96,
        {"nodes": 4, "forcing": 20.0},
        {"step": 0.005, "duration": 5000.0, "members": 64},
        # That spectrum is of 8 members of 2,000 time units, with standard errors of 0.007: hence the tolerance.
        {"spectrum": ([1.199, 0.0, -1.571, -3.628], 0.02), "positive": (1, 0), "total": (-4.0, 1e-4)},
    ),
    "ks-22": (
        KS,
        {"length": 22.0},
        {"nodes": 64, "step": 0.0625, "duration": 10_000.0, "members": 16},
        {"exponent": (0.0487, 0.003), "positive": (1, 0), "D": (5.25, 0.05), "zero": (0.0, 0.003)},
    ),
    "ks-36": (KS, {"length": 36.0}, {"nodes": 96, "step": 0.0625, "duration": 5000.0, "members": 8}, {}),
    "ks-60": (KS, {"length": 60.0}, {"nodes": 160, "step": 0.0625, "duration": 5000.0, "members": 8}, {}),
    "ks-100": (
        KS,
        {"length": 100.0},
        {"nodes": 256, "step": 0.0625, "duration": 5000.0, "members": 8},
        {"exponent": (0.0915, 0.005), "positive": (11, 0), "D": (22.5, 0.2), "zero": (0.0, 0.003)},
    ),
    "ks-200": (KS, {"length": 200.0}, {"nodes": 512, "step": 0.0625, "duration": 2500.0, "members": 8}, {}),
}
TABLE = Path(stgate.__file__).parent / "simulate" / "lyapunov.json"
NOTE = (
    "tangent-linear flow and QR, standard errors from the spread between members. `zero` is the largest magnitude of "
    "the exponents that ought to be zero (one for Lorenz-96, three for Kuramoto-Sivashinsky)."
)
HEADER = [
    *("system", "step", "members x time", "leading exponent", "positive"),
    *("Kaplan-Yorke dimension", "sum (exact)", "zero"),
]


def measure(case, other):
    """Return an entry of the table, measured by a run with other options where given."""
    system, parameters, run, _ = CASES[case]
    run = run | other
    found = lyapunov(system, **parameters, **run)
    value = {name: float(found[name]) for name in found.data_vars if found[name].ndim == 0}
    spectrum, errors = found["exponent"].values, found["exponent_error"].values
    grid = f", {run['nodes']} points" if system == KS else ""
    return {
        "system": system,
        "parameters": parameters,
        "exponent": float(f"{spectrum[0]:.4g}"),
        "exponent_error": float(f"{errors[0]:.2g}"),
        "spectrum": [float(f"{e:.5f}") for e in spectrum],
        "positive": int(value["positive"]),
        "kaplan_yorke_dimension": float(f"{value['kaplan_yorke_dimension']:.2f}"),
        "kaplan_yorke_dimension_error": float(f"{value['kaplan_yorke_dimension_error']:.2g}"),
        "kolmogorov_sinai_entropy": float(f"{value['kolmogorov_sinai_entropy']:.4g}"),
        "total": None if value["total"] != value["total"] else float(f"{value['total']:.7g}"),
        "zero": float(f"{value['zero']:.2g}"),
        "provenance": f"benchmarks/lyapunov.py of stgate {stgate.__version__}: {found.attrs['method']}, step "
        f"{run['step']:g}{grid}, {run['members']} members of {run['duration']:,.0f} time units; "
        "standard error between members",
    }


def misses(entry, expected):
    """Name the figures that are out of their tolerance."""
    for name, (value, tolerance) in expected.items():
        found = entry[{"D": "kaplan_yorke_dimension"}.get(name, name)]
        pairs = zip(found, value, strict=True) if isinstance(value, list) else [(found, value)]
        if any(abs(a - b) > tolerance for a, b in pairs):
            yield f"{name} {found}, expected {value} +- {tolerance}"


def cells(case, entry):
    """Return the cells of a line of the results."""
    run = CASES[case][2]
    if entry["system"] == L96:
        p = entry["parameters"]
        name = f"Lorenz-96, N = {p['nodes']}, F = {p['forcing']:g}"
        total = f"{entry['total']:.5f} ({-p['nodes']})"
    else:
        name, total = f"Kuramoto-Sivashinsky, L = {entry['parameters']['length']:g}, {run['nodes']} points", ""
    return [
        *(name, f"{run['step']:g}", f"{run['members']} x {run['duration']:,.0f}"),
        *(f"{entry['exponent']:.4g} ± {entry['exponent_error']:.2g}", entry["positive"]),
        f"{entry['kaplan_yorke_dimension']:.2f} ± {entry['kaplan_yorke_dimension_error']:.2g}",
        *(total, f"{entry['zero']:.2g}"),
    ]


@benchmark(
    "lyapunov",
    claim="Lyapunov spectra of Lorenz-96 and Kuramoto-Sivashinsky are the known ones within their tolerances",
    cost="half an hour, one core",
    quick="Lorenz-96 of four nodes, a short run; the packaged table is left alone",
    seeds=(0,),
)
def run(options: Options, *, cases: list[str] | None = None):
    """Measure the spectra.

    Args:
        options: Options of all benchmarks.
        cases: Names of the cases to measure; the others keep what the packaged table says.
    """
    if unknown := sorted(set(cases or ()) - set(CASES)):
        raise BenchmarkError(f"lyapunov has no case {', '.join(unknown)}; it has {', '.join(CASES)}")
    stored = json.loads(TABLE.read_text(encoding="utf-8"))["entries"]
    entries = {case: entry for case, spec in CASES.items() for entry in stored if spec[:2] == _of(entry)}
    missed = []
    for case in cases or (["l96-4-20"] if options.quick else CASES):
        started = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("error", SimulationWarning)
            entry = entries[case] = measure(case, {"duration": 50.0} if options.quick else {})
        print(row(cells(case, entry)), f"{time.process_time() - started:.0f} s", flush=True)
        missed += [f"{case}: {miss}" for miss in misses(entry, CASES[case][3])]
        ordered = {case: entries[case] for case in CASES if case in entries}
        if options.out == RESULTS:
            write(TABLE, json.dumps({"entries": list(ordered.values())}, indent=1) + "\n")
    rows = [cells(case, entry) for case, entry in ordered.items() if "zero" in entry]
    return Findings("Lyapunov exponents", table(HEADER, rows), {"entries": list(ordered.values())}, NOTE, missed)


def _of(entry):
    return entry["system"], entry["parameters"]
