"""Which of gating, attention and recurrence helps: python benchmarks/chaos/ablation.py [--work DIR].

Recurrent networks (three cells, four gates, with and without attention) and transformers (norm before or after, four
gates, with and without recurrence) of equal parameter counts, three seeds each, on the slow variables of the
three-scale Lorenz-96 system and on Kuramoto-Sivashinsky, L=22. All read out linearly, are trained alike on reduced
budgets, and are scored on the 100 test starts. Runs that are already in results/chaos_ablation.json are not repeated.
"""

import argparse
import itertools
import json
import tempfile
import time
from pathlib import Path

import lightning as L
import numpy as np
import torch
from scoring import forecasts, prediction_time, truth_of
from systems import SYSTEMS, panel_of

import stgate
from stgate.models import GatedRNN, GatedTransformer
from stgate.nn import RollOut

RESULTS = Path(__file__).parent.parent / "results"
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


def score(key, kind, options, seed, work):
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
    machine = L.Trainer(
        max_steps=STEPS,
        max_epochs=1,
        limit_train_batches=STEPS,
        limit_val_batches=0,
        gradient_clip_val=1.0,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
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


def write(results):
    """The tables."""
    lines = [
        "# Gating, attention, recurrence",
        "",
        f"`python benchmarks/chaos/ablation.py`; about {PARAMETERS:,} parameters, {STEPS:,} steps, {len(SEEDS)} seeds; "
        "valid prediction time (NRMSE < 0.5) on 100 test starts: in model time for the slow variables of three-scale "
        "Lorenz-96, in Lyapunov times for Kuramoto-Sivashinsky, L=22.",
    ]
    for key in SETTINGS:
        table = {}
        for name, runs in results.get(key, {}).items():
            table[name] = [run["vpt"] for run in runs.values()]
        if not table or any(len(v) < len(SEEDS) for v in table.values()):
            continue
        lines += [
            "",
            f"## {SYSTEMS[key].name}",
            "",
            "| published finding | difference (better in so many of the pairs) | here |",
            "|---|---|---|",
        ]
        lines += findings(table)
        lines += ["", "| network | parameters | valid prediction time, mean | of each seed |", "|---|---|---|---|"]
        for name in sorted(table, key=lambda n: -np.mean(table[n])):
            count = next(iter(results[key][name].values()))["parameters"]
            seeds = ", ".join(f"{v:.2f}" for v in table[name])
            lines.append(f"| {name} | {count:,} | {np.mean(table[name]):.3f} | {seeds} |")
    (RESULTS / "chaos_ablation.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def main():
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "stgate-chaos")
    parser.add_argument("--systems", nargs="+", default=list(SETTINGS))
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    path = RESULTS / "chaos_ablation.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    for key, seed in itertools.product(given.systems, SEEDS):
        for name, kind, options in grid():
            done = results.setdefault(key, {}).setdefault(name, {})
            if str(seed) not in done:
                done[str(seed)] = score(key, kind, options, seed, given.work)
                print(key, name, seed, done[str(seed)], flush=True)
                path.write_text(json.dumps(results, indent=1) + "\n")
    write(results)


if __name__ == "__main__":
    main()
