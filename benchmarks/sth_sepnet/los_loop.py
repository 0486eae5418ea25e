"""Speeds at 207 sensors of Los Angeles, 12 steps of 5 minutes in, 12 ahead, by T-GCN's protocol.

    python -m benchmarks run los_loop [--seeds 3] [--work FOLDER] [-- --validate]

The data set los_loop holds los_speed.csv.gz and los_adj.csv (see datasets/los_loop/card.yaml). Errors are means over
all steps up to the horizon, RMSE of the mean and MAE of the median. With `--validate`, what all is chosen on: the last
tenth of the training part. Scores in the working folder are not made again.
"""

import numpy as np

from benchmarks.fits import ALONE, adamw, cosine, fit
from benchmarks.options import Findings, Options
from benchmarks.registry import benchmark
from benchmarks.sth_sepnet.rivals import persistence, ridge
from benchmarks.sth_sepnet.tasks import STEPS, WINDOW, Task, of_model
from benchmarks.store import Store
from benchmarks.tables import table
from stgate.data import WindowData
from stgate.distributions import Quantiles
from stgate.models import STHSepNet

TGCN = {15: (5.126, 3.180), 30: (6.060, 3.747), 45: (6.707, 4.116), 60: (7.268, 4.602)}
"""RMSE and MAE as recalled from Zhao et al. (2019), T-GCN."""
PUBLISHED = {(m, key): value for m, both in TGCN.items() for key, value in zip(("rmse", "mae"), both, strict=True)}
EPOCHS = 10


def sepnet(task, seed, epochs=EPOCHS, **options):
    data = WindowData(
        task.panel,
        targets="speed",
        window=WINDOW,
        horizon=STEPS[-1],
        calendar=["hour"],
        split=task.split,
        batch_size=32,
        seed=seed,
    )
    likelihood = Quantiles(levels=[0.5, 0.8, 0.95])
    model = STHSepNet(
        **{**ALONE, **options}, likelihood=likelihood, optimizer=adamw(0.003), lr_scheduler=cosine(epochs)
    )
    fit(model, data, epochs, seed)
    return of_model(task, model.eval())


@benchmark(
    "los_loop",
    claim="speeds of Los Angeles, T-GCN's protocol: STH-SepNet has lower errors than T-GCN, persistence and a ridge",
    cost="an hour; data los_loop",
    quick="one epoch of one seed",
    seeds=3,
    one_thread=True,
)
def run(options: Options, *, validate: bool = False):
    """Score STH-SepNet and its rivals.

    Args:
        options: Options of all benchmarks.
        validate: The last tenth of the training part, which all is chosen on; nothing is written.
    """
    kept = Store(options.working("traffic") / f"los_loop{'_validation' * validate}.json")
    task = Task(options.dataset("los_loop"), validate)
    seeds, epochs = (options.seeds[:1], 1) if options.quick else (options.seeds, EPOCHS)
    kept.once("persistence", "0", make=lambda: task.scored(persistence(task)))
    kept.once("ridge", "0", make=lambda: task.scored(ridge(task)))
    for seed in seeds:
        kept.once("STH-SepNet", str(seed), make=lambda seed=seed: task.scored(sepnet(task, seed, epochs)))
    own, *rivals = (mean(kept[who]) for who in ("STH-SepNet", "persistence", "ridge"))
    missed = [f"{key} at {m} min" for m, key in own if own[m, key] >= min(r[m, key] for r in [*rivals, PUBLISHED])]
    note = "RMSE / MAE, miles an hour, means over all steps up to the horizon; STH-SepNet: means over seeds."
    return Findings(
        "Speeds of Los Angeles, T-GCN's protocol",
        report(kept, validate),
        dict(kept),
        note,
        [] if validate else missed,
        keep=not validate,
        reused=kept.reused(2 + len(seeds)),
        seeds=seeds,
    )


def mean(seeds):
    """Return means over seeds, by minutes and score."""
    return {(m, key): np.mean([s[str(m)][key] for s in seeds.values()]) for m in TGCN for key in ("rmse", "mae")}


def report(kept, validate):
    rows = []
    if not validate:
        rows.append(["T-GCN (recalled)", *(f"{r:.2f} / {a:.2f}" for r, a in TGCN.values())])
    for who, seeds in kept.items():
        found = mean(seeds)
        cells = [f"{found[m, 'rmse']:.3f} / {found[m, 'mae']:.3f}" for m in TGCN]
        rows.append([f"{who} (seeds: {len(seeds)})", *cells])
    return table(["", *(f"{m} min" for m in TGCN)], rows)
