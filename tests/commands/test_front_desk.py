"""A wrong request is refused before torch is imported, in the words in which what is behind would refuse it."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import make_panel, one_line

import stgate
from stgate.commands.fit import cli, messages
from stgate.commands.fit.desk import examine as desk
from stgate.errors import StgateError
from stgate.io.names import variables_of
from stgate.prediction import registry

MODEL = "--model GatedRNN --data.panel p.nc --data.targets y"
HEAVY = ("torch", "lightning", "xarray", "pandas", "jsonargparse", "h5py", "scipy", "zarr", "matplotlib")
CONFIG = "model:\n  class_path: {model}\ndata:\n  panel: p.nc\n  targets: [{target}]\n{more}"
CONFIGS = {
    "kind.yaml": CONFIG.format(model="GatedRNN\n  init_args:\n    hidden: abc", target="y", more=""),
    "name.yaml": CONFIG.format(model="GatedRNN\n  init_args:\n    hiden: 3", target="y", more=""),
    "target.yaml": CONFIG.format(model="Ridge", target="z", more=""),
    "model.yaml": CONFIG.format(model="Rige", target="y", more=""),
    "trainer.yaml": CONFIG.format(model="GatedRNN", target="y", more="trainer:\n  max_epochs: -5\n"),
    "count.yaml": CONFIG.format(model="Ridge", target="y", more="  window: 0\n"),
    "unknown.yaml": CONFIG.format(model="Ridge", target="y", more="monitr: val_crps\n"),
}
WRONG = [
    *(f"{MODEL} {option}" for option in (
        "--model.hiden 3", "--model.hidden abc", "--model.hidden 1.5", "--model.hidden 0", "--model.hidden true",
        "--model.dropout abc", "--model.dropout 1.5", "--model.linear abc", "--model.linear 3", "--model.cell gruu",
        "--model.cell=gruu", "--model.fill zero", "--model.likelihood Norml", "--model.inference Ensembl",
        "--model.inference Ensemble --model.inference.membrs 3", "--model.inference Ensemble --model.inference.draws 3",
        "--model.inference Ensemble --model.inference.members two", "--model.inference.members 4",
        "--model.likelihood Normal --model.likelihood.link expp", "--model.rollout.scheme rk5",
        "--model.node_embedding abc", "--data.windw 3", "--data.window abc", "--data.window 1.5", "--data.window true",
        "--data.window 0", "--data.split abc", "--data.split [0.5,0.5]", "--data.split [0.5,0.5,0.5,0.5]",
        "--data.max_memory -1", "--data.num_workers 100000", "--data.past_covariates [z]", "--data.targets [y,z]",
        "--trainer.max_epoch 3", "--trainer.max_epochs abc", "--trainer.max_epochs -5", "--trainer.max_epochs 0",
        "--trainer.precision 7", "--trainer.precision bf16-truu", "--trainer.gradient_clip_val abc",
        "--trainer.max_time 7", "--trainer.deterministic abc", "--trainer.enable_checkpointing false",
        "--wndow 3", "--overwrit", "stray", "--out", "--data.window", "--calibration splitt", "--monitor val_crp",
        "--seed_everything -5", "--seed_everything abc", "--out .", "--resume", "--ckpt_path none.ckpt",
    )),
    "--model GatedRN --data.panel p.nc --data.targets y", "--data.panel p.nc --data.targets y", "",
    "--model GatedRNN --data.panel p.nc", "--model GatedRNN --data.panel none.nc --data.targets y",
    "--model GatedRNN --data.panel p.foo --data.targets y", "--model GatedRNN --data.panel p.nc --data.targets z",
    "--model Persistence --model.hidden 4 --data.panel p.nc --data.targets y",
    "--model CGLUBNF --data.window 4 --data.panel p.nc --data.targets y",
    "--model CGLUBNF --data.context -1 --data.panel p.nc --data.targets y",
    "--model.hidden 4 --data.panel p.nc --data.targets y", "--config none.yaml", "--config lorenz97-gated-rnn",
    *(f"--config {name} --out run" for name in CONFIGS),
    "--model auto --data.panel none.nc --data.targets y", "--model auto --data.panel p.nc --data.targets z",
    "--model auto --data.panel p.nc", "--model auto --data.panel p.nc --data.targets y --budgt 3",
    "--model auto --data.panel p.nc --data.targets y --budget abc",
    "--model auto --data.panel p.nc --data.targets y --budget -1",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stgate.write(make_panel(steps=80), "p.nc")
    for name, text in CONFIGS.items():
        Path(name).write_text(text)
    ours = {name: kind for name, kind in registry.holders().items() if registry.is_ours(kind)}
    monkeypatch.setattr(registry, "holders", lambda: ours)  # other tests define classes of their own
    monkeypatch.setattr(messages, "holders", lambda: ours)
    return tmp_path


def refusal(function, *arguments):
    with pytest.raises(StgateError) as caught:
        function(*arguments)
    return str(caught.value), caught.value.exit_code


@pytest.mark.parametrize("words", WRONG)
def test_the_front_desk_says_of_a_fit_what_its_parser_says(folder, words):
    arguments = shlex.split(words)
    early, late = (refusal(run, "fit", arguments) for run in (desk.examine, cli.run))
    assert early == late


@pytest.mark.parametrize("words", ["predict", "test --ckpt_path none.ckpt", "validate --ckpt_path p.nc"])
def test_it_says_of_a_checkpoint_what_is_said_later(folder, words):
    command, *arguments = words.split()
    assert refusal(desk.examine, command, arguments) == refusal(cli.run, command, arguments)


@pytest.mark.parametrize(
    "words",
    [
        MODEL,
        f"{MODEL} --model.hidden 1e1",
        f"{MODEL} --model.transforms [Log,Anomaly]",
        f"{MODEL} --model.likelihood stgate.distributions.StudentT",
        f"{MODEL} --model.optimizer torch.optim.Adam --model.optimizer.lr 0.1",
        f"{MODEL} --model.inference Ensemble --model.inference.members 2",
        f'{MODEL} --model.rollout {{"unroll":2}}',
        f"{MODEL} --trainer.callbacks+ EarlyStopping --trainer.callbacks.monitor val_crps",
        f"{MODEL} --data.split [2020-01-02,2020-01-03,2020-01-04]",
        f"{MODEL} --data.seed -3 --data.num_workers 0 --trainer.max_epochs -1",
        "--model CGLUBNF --data.panel p.nc --data.targets y --data.context 4",
        "--model mine.Own --data.panel p.nc --data.targets z --model.any 3",
        "--config lorenz96-gated-rnn --data.panel p.nc --data.targets y",
        "--model auto --data.panel p.nc --data.targets y --budget 2",
        f"{MODEL} --help",
        "--model.help GatedRNN",
    ],
)
def test_it_lets_pass_what_is_right_and_what_it_does_not_know(folder, words):
    desk.examine("fit", words.split())


def test_its_table_is_that_of_the_classes():
    import fit_options

    assert fit_options.make() == desk.table(), "run `make options`"


@pytest.mark.parametrize("suffix", [".nc", ".zarr", ".csv"])
def test_the_names_in_a_file_are_those_of_the_panel(tmp_path, suffix):
    panel = make_panel(steps=20)
    if suffix == ".csv":
        panel[["y", "u"]].reset_coords(drop=True).to_dataframe().to_csv(tmp_path / "p.csv")
    else:
        stgate.write(panel, tmp_path / f"p{suffix}")
    opened = stgate.open_panel(tmp_path / f"p{suffix}")
    have, every = variables_of(tmp_path / f"p{suffix}")
    assert have == sorted(map(str, opened.data_vars)) and every == set(map(str, opened.variables))


def test_the_names_in_a_lattice_or_a_broken_file_are_left_to_its_reader(tmp_path):
    lattice = make_panel(steps=20)[["y"]].rename(node="cell")
    lattice.to_netcdf(tmp_path / "lattice.nc")
    (tmp_path / "broken.zarr").mkdir()
    (tmp_path / "broken.zarr" / "zarr.json").write_text("[")
    (tmp_path / "twice.csv").write_text("time,node,y,y\n")
    for name in ("lattice.nc", "broken.zarr", "twice.csv"):
        assert variables_of(tmp_path / name) is None


def test_what_is_refused_imports_nothing_that_it_does_not_need(folder):
    stgate.write(make_panel(steps=80).rename(y="z"), "z.zarr")
    checkpoint = Path(__file__).parents[1] / "checkpoints" / "format1" / "ridge.ckpt"
    requests = [
        *(f"fit {words}" for words in WRONG if "z" not in words),
        f"forecast p.nc --checkpoint {checkpoint} --levels 90 --out f.nc",
        f"forecast p.nc --checkpoint {checkpoint} --from yesterday --out f.nc",
        f"forecast z.zarr --checkpoint {checkpoint} --out f.nc",
        "forecast p.nc --checkpoint p.nc --out f.nc",
        "forecast p.nc --checkpoint none.ckpt --out f.nc",
        f"backtest p.nc --checkpoint {checkpoint} --every 0 --out f.nc",
        f"backtest p.nc --checkpoint {checkpoint} --calibration roling --out f.nc",
        f"calibrate p.nc --checkpoint {checkpoint} --conformity-score scald --out f.ckpt",
        f"reconstruct none.nc --checkpoint {checkpoint} --out f.nc",
        "stack none.ckpt --data.panel p.nc --out f.ckpt",
        "evaluate none.nc",
        "evaluate p.nc --bootstrap 1",
        "plot none.nc --out f.png",
        "mask p.nc --rate 2 --out f.nc",
        "data check none.nc",
        "data convert none.csv --out f.nc",
        "data select p.nc --within lat a b --out f.nc",
        "data describe nothing",
        "simulate lorenz96 --duration 1.01 --out f.nc",
        "simulate lorenz69 --out f.nc",
        "lyapunov lorenz96 --nodes 1",
    ]
    Path("script.py").write_text(
        "import sys\nfrom stgate.__main__ import main\n"
        f"for words in {requests!r}:\n"
        "    code = main(words.split())\n"
        f"    held = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "    assert code == 2 and not held, (words, code, held)\n"
    )
    path = os.pathsep.join([str(Path(stgate.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    made = subprocess.run(
        [sys.executable, "script.py"], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert made.returncode == 0, made.stderr[-600:]


@pytest.mark.parametrize("command", ["forecast", "backtest"])
@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("--levels 90", {"levels": [90.0]}),
        ("--from yesterday", {"start": "yesterday"}),
        ("--from 2020-02-30", {"start": "2020-02-30"}),
        ("--max-memory 0", {"max_memory": 0.0}),
    ],
)
def test_a_wrong_option_is_refused_as_python_refuses_it(folder, stgate_command, fitted, command, words, options):
    verb = getattr(stgate, command)
    said, _ = refusal(lambda: verb(fitted, "p.nc", **options))
    one_line(stgate_command(command, "p.nc", "--checkpoint", fitted, "--out", "f.nc", *words.split()), said)


@pytest.mark.parametrize("suffix", [".nc", ".zarr", ".csv"])
def test_a_variable_that_a_panel_lacks_is_named_as_python_names_it(folder, stgate_command, fitted, suffix):
    lacking = make_panel(steps=80)[["u"]].reset_coords(drop=True)
    if suffix == ".csv":
        lacking.to_dataframe().to_csv("l.csv")
    else:
        stgate.write(lacking, f"l{suffix}")
    said, _ = refusal(stgate.forecast, fitted, f"l{suffix}")
    one_line(stgate_command("forecast", f"l{suffix}", "--checkpoint", fitted, "--out", "f.nc"), said, "`y`")


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fitted")
    data = stgate.WindowData(make_panel(steps=80), targets=["y"], window=6, horizon=2)
    model = stgate.Persistence()
    import lightning as L

    trainer = L.Trainer(max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.fit(model, data)
    trainer.save_checkpoint(folder / "m.ckpt")
    return folder / "m.ckpt"
