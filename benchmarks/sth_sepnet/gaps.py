"""Speeds of Los Angeles of which blocks are missing: python benchmarks/sth_sepnet/gaps.py FOLDER [--work DIR].

FOLDER is that of los_loop.py. 0, 20 and 50 % of the record, in runs of half an hour to four hours of a sensor, are
hidden in training, calibration and inputs alike; 12 steps in and 12 ahead, the last fifth is asked, the tenth before
it calibrates. Scored is all that was observed, hidden or not, over all leads. STID sees zeros (each sensor's mean)
where nothing was observed, and is trained and calibrated as STH-SepNet. Intervals are the stored ones, and adaptive
ones, which go on learning from what came. The test rows were looked at twice before: of stored intervals alone, and
with the day of the week, which a record of five days does not teach. Exits 1 where STH-SepNet's errors grow more than
STID's, or its adaptive intervals cover over 3 points more or less than they say. Scores in DIR are not made again.
"""

import numpy as np
from kept import Kept, asked, record
from references import STID
from tasks import Task, adamw, cosine, fit

import stgate
from stgate.data import WindowData
from stgate.distributions import Quantiles
from stgate.models import STHSepNet
from stgate.panels.missing import hide

RATES, LEVELS, EPOCHS, HORIZON, FIRST = (0.0, 0.2, 0.5), (0.5, 0.8, 0.95), 10, 12, 0.8
MODELS = {"STH-SepNet": STHSepNet, "STID, zero-filled": STID}


def scored(panel, kind, rate):
    """Errors, and coverage in percent of all entries and by what was observed at the origin."""
    masked = hide(panel, "speed", rate=rate, pattern="block", length=(6, 48), seed=0)[0] if rate else panel
    parts = {"split": (FIRST - 0.1, 0, 0.1, 1 - FIRST), "calendar": ["hour"], "seed": 0}
    data = WindowData(masked, targets="speed", window=12, horizon=HORIZON, batch_size=32, **parts)
    options = {"optimizer": adamw(0.003), "lr_scheduler": cosine(EPOCHS)}
    model = fit(kind(likelihood=Quantiles(levels=list(LEVELS)), **options), data, EPOCHS, 0)
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


def main():
    given = asked(__doc__, "traffic-gaps")
    kept = Kept(given.work, "gaps")
    panel = Task(given.folder, False).panel
    for rate in map(str, RATES):
        for name, kind in MODELS.items():
            kept.once(name, rate, lambda kind=kind, rate=rate: scored(panel, kind, float(rate)))
    lines = [
        "| | missing | RMSE | MAE | RMSE grows | MAE grows | stored 50, 80, 95 % cover | adaptive | where missing |"
    ]
    lines.append("|---" * 9 + "|")
    grown, off = {}, 0.0
    for name, rows in kept.items():
        for rate, s in rows.items():
            grown[name, rate] = [s[key] / rows["0.0"][key] - 1 for key in ("rmse", "mae")]
            kinds = (("stored", "all"), ("adaptive", "all"), ("adaptive", "missing"))
            cover = [", ".join(f"{c:.1f}" for c in s["coverage"][mode].get(group, [])) for mode, group in kinds]
            more = [f"{100 * g:.1f} %" for g in grown[name, rate]]
            cells = [f"{100 * float(rate):.0f} %", f"{s['rmse']:.3f}", f"{s['mae']:.3f}", *more, *cover]
            lines.append(f"| {name} | {' | '.join(cells)} |")
            if name == "STH-SepNet":
                cover = s["coverage"]["adaptive"]["all"]
                off = max(off, *(abs(c - 100 * level) for c, level in zip(cover, LEVELS, strict=True)))
    print("\n".join([*lines, f"coverage is off by {off:.1f} points at most"]))
    heading = ["# Speeds of which blocks are missing", "", "`python benchmarks/sth_sepnet/gaps.py FOLDER`", ""]
    record("sth_sepnet_gaps", [*heading, *lines], kept)
    ours, rival = MODELS
    worse = [r for r in map(str, RATES[1:]) for a, b in zip(grown[ours, r], grown[rival, r], strict=True) if a >= b]
    raise SystemExit(int(bool(worse) or off > 3))


if __name__ == "__main__":
    main()
