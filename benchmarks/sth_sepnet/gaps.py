"""Speeds of Los Angeles of which blocks are missing: python -m benchmarks run sth_sepnet_gaps [--work FOLDER].

The data are those of los_loop.py. 0, 20 and 50 % of the record, in runs of half an hour to four hours of a sensor, are
hidden in training, calibration and inputs alike; 12 steps in and 12 ahead, the last fifth is asked, the tenth before
it calibrates. Scored is all that was observed, hidden or not, over all leads. STID sees zeros (each sensor's mean)
where nothing was observed, and is trained and calibrated as STH-SepNet. Intervals are the stored ones, and adaptive
ones, which go on learning from what came. The test rows were looked at twice before: of stored intervals alone, and
with the day of the week, which a record of five days does not teach. Bars: STH-SepNet's errors grow less than STID's,
and its adaptive intervals cover within 3 points of what they say. Scores in the working folder are not made again.
"""

from functools import partial

import numpy as np

import stgate
from benchmarks.fits import ALONE, adamw, cosine, fit
from benchmarks.options import Findings, Options
from benchmarks.registry import benchmark
from benchmarks.sth_sepnet.references import STID
from benchmarks.sth_sepnet.tasks import Task
from benchmarks.store import Store
from benchmarks.tables import table
from stgate.data import WindowData
from stgate.distributions import Quantiles
from stgate.models import STHSepNet
from stgate.panels.missing import mask

RATES, LEVELS, EPOCHS, HORIZON, FIRST = (0.0, 0.2, 0.5), (0.5, 0.8, 0.95), 10, 12, 0.8
MODELS = {"STH-SepNet": STHSepNet, "STID, zero-filled": STID}


def scored(panel, kind, rate, epochs):
    """Errors, and coverage in percent of all entries and by what was observed at the origin."""
    masked = mask(panel, "speed", rate=rate, pattern="block", length=(6, 48), seed=0)[0] if rate else panel
    parts = {"split": (FIRST - 0.1, 0, 0.1, 1 - FIRST), "calendar": ["hour"], "seed": 0}
    data = WindowData(masked, targets="speed", window=12, horizon=HORIZON, batch_size=32, **parts)
    options = {**(ALONE if kind is STHSepNet else {}), "optimizer": adamw(0.003), "lr_scheduler": cosine(epochs)}
    model = kind(likelihood=Quantiles(levels=list(LEVELS)), **options)
    fit(model, data, epochs)
    model.eval()
    stgate.calibrate(model, data, levels=LEVELS)
    times = panel["time"].values
    rows = np.arange(int(FIRST * len(times)) - 1, len(times) - HORIZON)
    truth, there = (x["speed"].transpose("time", "node").values for x in (panel, masked.notnull()))
    truth = truth[rows[:, None] + 1 + np.arange(HORIZON)]
    seen = np.broadcast_to(there[rows][:, None], truth.shape)
    groups = {"all": np.ones_like(seen), "observed": seen, "missing": ~seen}
    found = {}
    for mode in ("stored", "adaptive"):
        made = stgate.backtest(model, masked, start=str(times[rows[0] + 1]), levels=LEVELS, calibration=mode)
        made = made.sel(init_time=times[rows]).transpose("quantile", "init_time", "lead_time", "node")

        def of(quantile, made=made):
            return made["speed"].sel(quantile=quantile, method="nearest").values

        inside = [(truth >= of(0.5 - level / 2)) & (truth <= of(0.5 + level / 2)) for level in LEVELS]
        found[mode] = {
            name: [100 * float(i[group].mean()) for i in inside] for name, group in groups.items() if group.any()
        }
        rmse = float(((made["speed_mean"].values - truth) ** 2).mean() ** 0.5)
    return {"rmse": rmse, "mae": float(abs(of(0.5) - truth).mean()), "coverage": found}


@benchmark(
    "sth_sepnet_gaps",
    claim="with 20 and 50 % missing in blocks STH-SepNet's errors grow less than STID's, and adaptive intervals cover",
    cost="an hour; data los_loop",
    quick="one epoch, nothing and 20 % missing",
    seeds=(0,),
    one_thread=True,
)
def run(options: Options):
    kept = Store(options.working("traffic-gaps") / "gaps.json")
    panel = Task(options.dataset("los_loop"), False).panel
    rates, epochs = (RATES[:2], 1) if options.quick else (RATES, EPOCHS)
    for rate in rates:
        for name, kind in MODELS.items():
            kept.once(name, str(rate), make=partial(scored, panel, kind, rate, epochs))
    rows, grown, off = [], {}, 0.0
    for name, scores in kept.items():
        for rate, s in scores.items():
            grown[name, rate] = [s[key] / scores["0.0"][key] - 1 for key in ("rmse", "mae")]
            rows.append([name, *cells(rate, s, grown[name, rate])])
            if name == "STH-SepNet":
                cover = s["coverage"]["adaptive"]["all"]
                off = max(off, *(abs(c - 100 * level) for c, level in zip(cover, LEVELS, strict=True)))
    print(f"coverage is off by {off:.1f} points at most")
    header = ["", "missing", "RMSE", "MAE", "RMSE grows", "MAE grows", "stored 50, 80, 95 % cover", "adaptive"]
    ours, rival = MODELS
    pairs = {r: zip(grown[ours, r], grown[rival, r], strict=True) for r in map(str, rates[1:])}
    missed = [f"errors grow more than STID's at {r}" for r, both in pairs.items() if any(a >= b for a, b in both)]
    missed += ["coverage"] if off > 3 else []
    lines, reused = table([*header, "where missing"], rows), kept.reused(len(rates) * len(MODELS))
    return Findings("Speeds of which blocks are missing", lines, dict(kept), missed=missed, reused=reused)


def cells(rate, s, grown):
    kinds = (("stored", "all"), ("adaptive", "all"), ("adaptive", "missing"))
    cover = [", ".join(f"{c:.1f}" for c in s["coverage"][mode].get(group, [])) for mode, group in kinds]
    more = [f"{100 * g:.1f} %" for g in grown]
    return [f"{100 * float(rate):.0f} %", f"{s['rmse']:.3f}", f"{s['mae']:.3f}", *more, *cover]
