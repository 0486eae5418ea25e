"""CPU seconds of commands that ask, and of requests that are refused: the least of five runs, children included."""

import sys
import tempfile
from pathlib import Path

import numpy as np
import xarray as xr

from benchmarks.options import Findings, Options
from benchmarks.processes import watch
from benchmarks.registry import benchmark
from benchmarks.tables import table
from stgate.__main__ import COMMANDS, main
from stgate.io import store

MODEL = "fit --model GatedRNN --data.panel p.nc --data.targets y"
REFUSED = {
    "an unknown command": "forcast p.nc",
    "an unknown option": "forecast p.nc --checkpoin c.ckpt",
    "a required option missing": "forecast p.nc --checkpoint c.ckpt",
    "no such checkpoint": "forecast p.nc --checkpoint none.ckpt --out f.nc",
    "no checkpoint in the file": "forecast p.nc --checkpoint p.nc --out f.nc",
    "no such panel": "forecast none.nc --checkpoint c.ckpt --out f.nc",
    "a panel that lacks the target (.nc)": "forecast other.nc --checkpoint c.ckpt --out f.nc",
    "a panel that lacks the target (.zarr)": "forecast other.zarr --checkpoint c.ckpt --out f.nc",
    "a panel that lacks the target (.csv)": "forecast other.csv --checkpoint c.ckpt --out f.nc",
    "a level out of range": "forecast p.nc --checkpoint c.ckpt --levels 90 --out f.nc",
    "no time": "forecast p.nc --checkpoint c.ckpt --from yesterday --out f.nc",
    "an --out that exists": "forecast p.nc --checkpoint c.ckpt --out p.nc",
    "an --out of no format": "forecast p.nc --checkpoint c.ckpt --out f.txt",
    "backtest: --every 0": "backtest p.nc --checkpoint c.ckpt --every 0 --out f.nc",
    "backtest: an unknown calibration": "backtest p.nc --checkpoint c.ckpt --calibration roling --out f.nc",
    "calibrate: an unknown score": "calibrate p.nc --checkpoint c.ckpt --conformity-score scald --out d.ckpt",
    "reconstruct: no such panel": "reconstruct none.nc --checkpoint c.ckpt --out f.nc",
    "stack: no such checkpoint": "stack none.ckpt c.ckpt --data.panel p.nc --out s.ckpt",
    "evaluate: no such forecast": "evaluate none.nc",
    "evaluate: one resample": "evaluate p.nc --bootstrap 1",
    "plot: an unknown kind": "plot p.nc --kind fann --out f.png",
    "mask: a rate above one": "mask p.nc --rate 2 --out m.nc",
    "data check: no such panel": "data check none.nc",
    "data convert: no such table": "data convert none.csv --out q.nc",
    "data describe: an unknown card": "data describe beijing_ar",
    "simulate: an unknown system": "simulate lorenz69 --out s.nc",
    "simulate: no whole number of steps": "simulate lorenz96 --duration 1.01 --out s.nc",
    "fit: an unknown model": "fit --model GatedRN --data.panel p.nc --data.targets y",
    "fit: an unknown option of the model": f"{MODEL} --model.hiden 3",
    "fit: an option of another model": "fit --model Persistence --data.panel p.nc --data.targets y --model.hidden 3",
    "fit: an unknown option of the data": f"{MODEL} --data.windw 3",
    "fit: an unknown option of the trainer": f"{MODEL} --trainer.max_epoch 3",
    "fit: no whole number": f"{MODEL} --data.window abc",
    "fit: a count out of range": f"{MODEL} --data.window 0",
    "fit: a size out of range": f"{MODEL} --model.hidden 0",
    "fit: an unknown word": f"{MODEL} --model.cell gruu",
    "fit: an unknown likelihood": f"{MODEL} --model.likelihood Norml",
    "fit: no epochs": f"{MODEL} --trainer.max_epochs 0",
    "fit: a required option missing": "fit --model GatedRNN --data.panel p.nc",
    "fit: no such panel": "fit --model GatedRNN --data.panel none.nc --data.targets y",
    "fit: a target that the panel lacks": "fit --model GatedRNN --data.panel p.nc --data.targets z",
    "fit: a split that is none": f"{MODEL} --data.split [0.5,0.5]",
    "fit: no such config": "fit --config none.yaml",
    "fit: a wrong value in a config": "fit --config wrong.yaml",
    "fit: an --out that is no run": f"{MODEL} --out .",
    "fit: nothing to resume": "fit --resume --out none",
    "fit: automatic, a target that the panel lacks": "fit --model auto --data.panel p.nc --data.targets z",
    "predict: no checkpoint": "predict",
    "test: no such checkpoint": "test --ckpt_path none.ckpt",
}
DONE = {
    "forecast": "forecast p.nc --checkpoint c.ckpt --out done.nc --overwrite",
    "backtest": "backtest p.nc --checkpoint c.ckpt --every 50 --out backtest.nc --overwrite",
    "calibrate": "calibrate p.nc --checkpoint c.ckpt --out done.ckpt --overwrite",
    "evaluate": "evaluate hindcast.nc",
    "plot": "plot hindcast.nc --out done.png --overwrite",
}
SCRIPTS = {
    "python -c pass": "pass",
    "import numpy": "import numpy",
    "import torch": "import torch",
    "import stgate": "import stgate",
}


@benchmark(
    "startup",
    claim="every request that words or files show to be wrong is refused in 0.3 s of CPU, fit's too; forecast takes "
    "under 3 s, all imports included",
    cost="4 minutes",
    quick="one run of every eighth request, and of no command that does its work",
)
def run(options: Options):
    rounds, stride = (1, 8) if options.quick else (5, 1)
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        asked = {"stgate --help": "--help"} | {f"stgate {name} --help": f"{name} --help" for name in COMMANDS}
        kinds = ((asked, 0), (REFUSED, 2)) if options.quick else ((asked, 0), (DONE, 0), (REFUSED, 2))
        figures = {name: _seconds(["-c", code], folder, rounds) for name, code in SCRIPTS.items()}
        for kind, code in kinds:
            for name, words in list(kind.items())[::stride]:
                figures[name] = _seconds(["-m", "stgate", *words.split()], folder, rounds, code)
    lines = table(["request", "CPU seconds"], ([name, f"{seconds:.3f}"] for name, seconds in figures.items()))
    return Findings("What starting and refusing cost", lines, figures)


def prepare(folder: Path) -> None:
    """Write the files that the requests are about: panels, a checkpoint, a hindcast and a config."""
    time = np.datetime64("2020-01-01", "ns") + np.arange(300) * np.timedelta64(1, "h")
    values = np.random.default_rng(0).normal(size=(300, 3)).astype("float32")
    panel = xr.Dataset({"y": (("time", "node"), values)}, {"time": time, "node": ["a", "b", "c"]})
    store.write(panel, folder / "p.nc")
    for name in ("other.nc", "other.zarr"):
        store.write(panel.rename(y="u"), folder / name)
    panel.rename(y="u").to_dataframe().to_csv(folder / "other.csv")
    (folder / "wrong.yaml").write_text("model:\n  class_path: GatedRNN\n  init_args:\n    hidden: abc\n")
    data = ["--data.panel", str(folder / "p.nc"), "--data.targets", "y", "--data.window", "12", "--data.horizon", "3"]
    assert main(["fit", "--model", "Persistence", *data, "--out", str(folder / "run")]) == 0
    (folder / "run" / "best.ckpt").rename(folder / "c.ckpt")
    hindcast = ["--every", "50", "--out", str(folder / "hindcast.nc")]
    assert main(["backtest", str(folder / "p.nc"), "--checkpoint", str(folder / "c.ckpt"), *hindcast]) == 0


def _seconds(words: list[str], folder: str, rounds: int, code: int = 0) -> float:
    """Return the CPU seconds of a process, the least of some runs."""
    return round(min(watch([sys.executable, *words], cwd=folder, code=code)["cpu"] for _ in range(rounds)), 3)
