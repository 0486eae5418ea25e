"""Gating, attention and recurrence: the help of each.

Recurrent networks (three cells, four gates, with and without attention) and transformers (norm before or after, four
gates, with and without recurrence) of equal parameter counts, three seeds each, on the slow variables of the
three-scale Lorenz-96 system and on Kuramoto-Sivashinsky, L=22. All read out linearly, are trained alike on reduced
budgets, and are scored on the 100 test starts. Runs that are already in chaos_ablation.json are not repeated.
"""

import itertools
import time
from functools import partial

import lightning as L
import numpy as np
import torch

import stgate
from benchmarks.chaos.scoring import forecasts, prediction_time, truth_of
from benchmarks.chaos.systems import SYSTEMS, panel_of
from benchmarks.fits import trainer
from benchmarks.options import Findings, Options
from benchmarks.registry import BenchmarkError, benchmark
from benchmarks.store import Store
from benchmarks.tables import table
from stgate.models import GatedRNN, GatedTransformer
from stgate.nn import RollOut

PARAMETERS, SEEDS, STEPS = 20_000, (0, 1, 2), 800
GATES = ("none", "additive", "learned_rate", "coupled")
SETTINGS = {"l96-3scale": {"halo": 2, "batch": 32}, "ks-22": {"halo": 4, "batch": 16}}


def grid():
    """Name and options of each network."""
    for cell, gate, attention in itertools.product(("lstm", "gru", "rhn"), GATES, (False, True)):
        name = f"{cell} / {gate} / {'attention' if attention else '-'}"
        yield name, GatedRNN, {"cell": cell, "gate": gate, "attention": 2 if attention else 0}
    for norm, gate, recurrence in itertools.product(("pre", "post"), GATES, (False, True)):
        name = f"transformer {norm} / {gate} / {'recurrence' if recurrence else '-'}"
        yield name, GatedTransformer, {"norm": norm, "gate": gate, "recurrence": recurrence, "heads": 2, "layers": 1}


def sized(kind, options, data):
    """The network whose parameters come nearest to as many as all have."""

    def make(hidden):
        return kind(hidden=hidden, span=8, rollout=RollOut(unroll=1, blocks=0, width=hidden, noise=0.02), **options)

    counts = {h: sum(p.numel() for p in make(h).build(data.spec).parameters()) for h in range(8, 105, 2)}
    return make, min(counts, key=lambda h: abs(counts[h] - PARAMETERS)), counts


def score(key, kind, options, seed, work, steps):
    """One fit and its valid prediction time on the test starts."""
    system, setting = SYSTEMS[key], SETTINGS[key]
    data = stgate.data.WindowData(
        panel_of(system, "train", work),
        targets=[system.variable],
        window=16,
        horizon=system.horizon,
        train_horizon=1,
        split=(1.0, 0.0, 0.0, 0.0),
        batch_size=setting["batch"],
        seed=seed,
    )
    options = {"halo": setting["halo"], **options}
    make, hidden, counts = sized(kind, options, data)
    L.seed_everything(seed, verbose=False)
    model = make(hidden)
    model._optimizer = lambda parameters: torch.optim.AdamW(parameters, lr=3e-3)
    started = time.process_time()
    machine = trainer(
        max_steps=steps,
        max_epochs=1,
        limit_train_batches=steps,
        limit_val_batches=0,
        gradient_clip_val=1.0,
        accelerator="cpu",
    )
    machine.fit(model, data)
    spent = time.process_time() - started
    test = panel_of(system, "test", work)
    made = forecasts(model.eval(), system, test)
    values = made[f"{system.variable}_mean"].isel(init_time=0).transpose("member", "lead_time", "node").values
    scored = prediction_time(system, truth_of(system, test), values, made[f"{system.variable}_sigma"])
    return {"vpt": scored["mean"], "hidden": hidden, "parameters": counts[hidden], "seconds": round(spent, 1)}


def findings(table):
    """The paper's four findings, as contrasts of mean valid prediction times with their standard errors over pairs."""

    def contrast(better, worse, sign=1):
        pairs = [(table[b], table[worse(b)]) for b in table if better(b) and worse(b) in table]
        gaps = np.array([np.mean(b) - np.mean(w) for b, w in pairs])
        error = gaps.std(ddof=1) / len(gaps) ** 0.5
        said = "unclear" if abs(gaps.mean()) < 2 * error else "yes" if sign * gaps.mean() > 0 else "no"
        return f"{gaps.mean():+.3f} ± {error:.3f} ({(gaps > 0).sum()} of {len(gaps)}) | {said}"

    def recurrent(name):
        return not name.startswith("transformer")

    best = max(table, key=lambda n: np.mean(table[n]))
    rest = {g: (lambda n, g=g: n.replace(f"/ {g} /", "/ none /")) for g in GATES[1:]}
    lines = [
        f"| gating helps recurrent networks: {g} gate against none | "
        f"{contrast(lambda n, g=g: recurrent(n) and f'/ {g} /' in n, rest[g])} |"
        for g in GATES[1:]
    ]
    attention = contrast(lambda n: n.endswith("attention"), lambda n: n.removesuffix("attention") + "-")
    recurrence = contrast(lambda n: n.endswith("recurrence"), lambda n: n.removesuffix("recurrence") + "-", -1)
    same = best.startswith("rhn") and "none" not in best and best.endswith("attention")
    return [
        *lines,
        f"| attention helps recurrent networks: against none | {attention} |",
        f"| recurrence hurts transformers: against none | {recurrence} |",
        f"| a recurrent highway network with gate and attention is best | best: {best}, {np.mean(table[best]):.2f} | "
        f"{'yes' if same else 'no'} |",
    ]


def tables(results):
    """Return the findings and the scores of each system that is done."""
    lines = []
    for key in SETTINGS:
        scores = {name: [run["vpt"] for run in runs.values()] for name, runs in results.get(key, {}).items()}
        if not scores or any(len(v) < len(SEEDS) for v in scores.values()):
            continue
        header = ["published finding", "difference (better in so many of the pairs)", "here"]
        lines += ["", f"## {SYSTEMS[key].name}", "", *table(header, []), *findings(scores), ""]
        rows = (
            [
                *(name, f"{next(iter(results[key][name].values()))['parameters']:,}", f"{np.mean(scores[name]):.3f}"),
                ", ".join(f"{v:.2f}" for v in scores[name]),
            ]
            for name in sorted(scores, key=lambda n: -np.mean(scores[n]))
        )
        lines += table(["network", "parameters", "valid prediction time, mean", "of each seed"], rows)
    return lines


@benchmark(
    "chaos_ablation",
    claim="gating, attention and recurrence at equal parameter counts: what each adds to forecasts of chaos",
    cost="a day",
    quick="one network, ten steps, one seed",
    seeds=(0, 1, 2),
    one_thread=True,
)
def run(options: Options, *, systems: list[str] | None = None):
    """Fit what the results lack.

    Args:
        options: Options of all benchmarks.
        systems: Names of the systems, l96-3scale and ks-22; both by default.
    """
    keys, seeds, networks, steps = systems or list(SETTINGS), SEEDS, list(grid()), STEPS
    if unknown := sorted(set(keys) - set(SETTINGS)):
        raise BenchmarkError(f"chaos_ablation has no system {', '.join(unknown)}; it has {', '.join(SETTINGS)}")
    if options.quick:
        keys, seeds, networks, steps = keys[:1], SEEDS[:1], networks[:1], 10
    work, results = options.working("chaos"), Store(options.out / "chaos_ablation.json")
    for key, seed in itertools.product(keys, seeds):
        for name, kind, parts in networks:
            results.once(key, name, str(seed), make=partial(score, key, kind, parts, seed, work, steps))
    note = (
        f"about {PARAMETERS:,} parameters, {steps:,} steps, {len(seeds)} seeds; "
        "valid prediction time (NRMSE < 0.5) on 100 test starts: in model time for the slow variables of three-scale "
        "Lorenz-96, in Lyapunov times for Kuramoto-Sivashinsky, L=22."
    )
    reused = results.reused(sum(len(runs) for of in results.values() for runs in of.values()))
    title = "Gating, attention, recurrence"
    return Findings(title, tables(results), dict(results), note, seeds=tuple(seeds), reused=reused)
