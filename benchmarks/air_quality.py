"""PM2.5 of Beijing, 24 hours in, 24 hours ahead: gated forecasters beside persistence, climatology and ridge.

The data set beijing_air holds the twelve station files PRSA_Data_*.csv[.gz] and stations.csv (see its card). The
packaged config `air-quality-gated-rnn` is fitted as it is, with past covariates and the calendar; with other cells and
attention, or a transformer, in its place, one seed each; so is `air-quality-field`, which sees PM2.5 only and can fill
gaps too. Validation is 2014-11-01 to 2015-02-28, calibration the year 2015-03-01 to 2016-02-29, test the valid times
2016-03-01 to 2017-02-28.
All choices were made on the validation part. Runs that are already in the working folder are not fitted again.
"""

import json

import pandas as pd

import stgate
from benchmarks.options import Findings, Options
from benchmarks.record import write
from benchmarks.registry import BenchmarkError, benchmark
from benchmarks.tables import table
from stgate.__main__ import main as command

LEADS = (1, 6, 12, 24)
SPLIT = "[2014-11-01,2015-03-01,2016-03-01]"
SPAN = ("2016-03-01", "2017-02-28")
COVARIATES = "[PM10,SO2,NO2,CO,O3,TEMP,PRES,DEWP,RAIN,WSPM]"


def stgate_command(*arguments):
    if command([str(a) for a in arguments]) != 0:
        raise BenchmarkError(f"failed: stgate {' '.join(map(str, arguments))}")


def convert(folder, out):
    files = sorted(folder.glob("PRSA_Data_*.csv*"))
    columns = ("--time", "year", "month", "day", "hour", "--node", "station", "--drop", "No", "wd")
    named = ("--rename", "PM2.5=pm25", "--units", "pm25=ug/m3", "--coords", folder / "stations.csv")
    stgate_command("data", "convert", *files, *columns, *named, "--out", out)


def scores_of(name, panel, work, seed, options):
    run = work / f"{name}-{seed}"
    if not (run / "scores.json").exists():
        seeds = ("--seed_everything", seed, "--data.seed", seed)
        stgate_command(
            "fit", *options, "--data.panel", panel, "--data.split", SPLIT, *seeds, "--out", run, "--overwrite"
        )
        hindcast = stgate.backtest(
            run / "best.ckpt", stgate.open_panel(panel), start=SPAN[0], end=SPAN[1], levels=[0.5, 0.9]
        )
        leads = stgate.evaluate(hindcast, by="lead_time").to_dataframe().reset_index(drop=True)
        groups = stgate.evaluate(hindcast, by="observed").to_dataframe()
        kept = {"scores": leads.to_dict("list"), "observed": groups[["count", "mae", "coverage_90"]].to_dict("index")}
        write(run / "scores.json", json.dumps(_no_nan(kept)))
    return json.loads((run / "scores.json").read_text())


def _cell(name):
    return "--model.init_args.cell", name, "--model.init_args.attention", 4


def _no_nan(value):
    """Replace NaN, which JSON does not know, by None."""
    if isinstance(value, dict):
        return {k: _no_nan(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_no_nan(v) for v in value]
    return None if isinstance(value, float) and value != value else value


def runs(seeds):
    """Folder, options of `stgate fit` and number of seeds of each forecaster, by its label."""
    shared = ("--data.targets", "[pm25]", "--data.past_covariates", COVARIATES)
    shared += ("--data.window", 24, "--data.horizon", 24)
    gated = ("--config", "air-quality-gated-rnn")
    transformer = ("--model", "GatedTransformer", "--model.init_args.dropout", 0.1)
    rate = ("--model.init_args.optimizer.class_path", "torch.optim.AdamW", "--model.init_args.optimizer.init_args.lr")
    return {
        "Persistence": ("persistence", ["--model", "Persistence", *shared], 1),
        "Climatology (month x hour)": ("climatology", ["--model", "Climatology", *shared], 1),
        "Ridge, pooled": ("ridge", ["--model", "Ridge", *shared], 1),
        "GatedRNN": ("gatedrnn", [*gated], seeds),
        "GatedRNN, LSTM and attention": ("lstm", [*gated, *_cell("lstm")], 1),
        "GatedRNN, recurrent highway and attention": ("rhn", [*gated, *_cell("rhn")], 1),
        "GatedTransformer": ("transformer", [*gated, *transformer, *rate, 0.001], 1),
        "CGLUBNF": ("field", ["--config", "air-quality-field"], 1),
    }


def row_of(label, kept):
    """Cells of a forecaster, by heading."""
    tables = [pd.DataFrame(k["scores"]) for k in kept]
    mae = sum(t["mae"] for t in tables) / len(tables)
    spread = pd.concat([t["mae"] for t in tables], axis=1).std(axis=1) if len(kept) > 1 else 0 * mae
    coverage = pd.concat([t["coverage_90"] for t in tables], axis=1)
    row = {"forecaster": label, "seeds": len(kept), "cases": f"{int(tables[0]['count'].iloc[0]):,}"}
    row |= {f"MAE {h} h": f"{mae[h - 1]:.2f}" + (f" ± {spread[h - 1]:.2f}" if len(kept) > 1 else "") for h in LEADS}
    row["90 % interval covers, least to most over leads and seeds"] = (
        f"{100 * coverage.min().min():.1f} to {100 * coverage.max().max():.1f} %"
    )
    for group in ("at origin", "before origin"):
        held = [k["observed"][group]["coverage_90"] for k in kept]
        row[f"90 % covers, last observed {group}"] = "-" if None in held else f"{100 * sum(held) / len(held):.1f} %"
    return row


@benchmark(
    "air_quality",
    claim="PM2.5 of Beijing: the packaged config beats persistence, climatology and ridge 1 to 24 h ahead and covers",
    cost="hours; data beijing_air",
    quick="persistence, climatology and ridge alone",
    seeds=3,
)
def run(options: Options):
    work = options.working("air-quality")
    panel = work / "beijing_air.nc"
    if not panel.exists():
        convert(options.dataset("beijing_air"), panel)
    chosen = list(runs(len(options.seeds)).items())[: 3 if options.quick else None]
    result = {
        label: [scores_of(name, panel, work, seed, given) for seed in range(seeds)]
        for label, (name, given, seeds) in chosen
    }
    rows = [row_of(label, kept) for label, kept in result.items()]
    lines = table(rows[0], (row.values() for row in rows))
    return Findings(f"PM2.5 of Beijing, valid times {SPAN[0]} to {SPAN[1]}", lines, result)
