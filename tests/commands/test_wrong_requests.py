"""Every wrong request is one clear line that names the thing and the fix, exit code 2, and nothing half-written."""

import numpy as np
import pytest
import torch
import xarray as xr
from helpers import make_panel, one_line

import stgate


def fit(run, folder, panel_path, *more):
    data = ("--data.panel", panel_path, "--data.targets", "[y]", "--data.window", 12, "--data.horizon", 6)
    return run("fit", "--model", "Persistence", *data, "--out", folder / "run", *more)


@pytest.fixture
def saved(tmp_path, panel):
    stgate.write(panel, tmp_path / "panel.nc")
    return tmp_path / "panel.nc"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    from stgate.__main__ import main

    folder = tmp_path_factory.mktemp("fitted")
    stgate.write(make_panel(), folder / "panel.nc")
    data = [
        "--data.panel",
        str(folder / "panel.nc"),
        "--data.targets",
        "[y]",
        "--data.window",
        "12",
        "--data.horizon",
        "6",
    ]
    model = ["--model", "GatedRNN", "--model.hidden", "4", "--trainer.max_epochs", "1", "--data.every", "20"]
    assert main(["fit", *model, *data, "--out", str(folder / "run")]) == 0
    return folder / "run" / "best.ckpt"


def broken_panels():
    whole = make_panel(missing=0)
    hour = whole.drop_isel(time=6)
    yield "a missing hour", hour, ("`y`", "row 6", "reindex", "freq='h'")
    yield "a time that goes back", whole.isel(time=[0, 2, 1, *range(3, 400)]), ("time goes back", "sortby")
    twice = xr.concat([whole.isel(time=slice(0, 5)), whole.isel(time=slice(4, 400))], "time")
    yield "a time that appears twice", twice, ("2020-01-01T04:00", "appears twice", "drop_duplicates")
    infinite = whole.copy(deep=True)
    infinite["y"][7, 1] = np.inf
    yield "an infinite value", infinite, ("`y`", "infinite", "2020-01-01T07:00", "node b", "where")
    silent = whole.copy(deep=True)
    silent["y"][:, 2] = np.nan
    yield "a silent node", silent, ("`y`", "never observed at node 'c'", "stgate data select")
    numbers = whole.assign(y=whole["y"].astype(str))
    yield "numbers as text", numbers, ("`y`", "holds numbers as text", "panel.assign({'y': panel['y'].astype(float)})")
    text = whole.assign(y=whole["y"].astype(str).where(False, "NW"))
    yield "text in a number column", text, ("`y`", "text", "drop_vars")
    yield "too few steps", whole.isel(time=slice(0, 15)), ("15 steps", "window of 12", "need 18")


@pytest.mark.parametrize(("panel", "words"), [pytest.param(p, w, id=i) for i, p, w in broken_panels()])
def test_fit_refuses_a_broken_panel_in_one_line_and_leaves_nothing(stgate_command, tmp_path, panel, words):
    panel.to_netcdf(tmp_path / "broken.nc")
    one_line(fit(stgate_command, tmp_path, tmp_path / "broken.nc"), *words)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["broken.nc"]


def test_a_text_column_of_a_table_is_named_with_its_value(stgate_command, tmp_path):
    (tmp_path / "long.csv").write_text("time,node,y\n2020-01-01,a,1\n2020-01-02,a,n.n.\n")
    result = stgate_command("data", "convert", tmp_path / "long.csv", "--node", "node", "--out", tmp_path / "p.nc")
    one_line(result, "'y'", "'n.n.'", "2020-01-02")
    assert not (tmp_path / "p.nc").exists()


def test_another_panels_nodes_are_refused_by_the_checkpoint(stgate_command, tmp_path, checkpoint):
    stgate.write(make_panel(nodes=("a", "b", "z")), tmp_path / "other.nc")
    for command in ("forecast", "backtest"):
        result = stgate_command(command, tmp_path / "other.nc", "--checkpoint", checkpoint, "--out", tmp_path / "f.nc")
        one_line(result, "`node`", "lacks 'c'", "has unknown 'z'", "panel.sel")
    assert not (tmp_path / "f.nc").exists()


def test_too_little_history_is_refused(stgate_command, tmp_path, checkpoint):
    stgate.write(make_panel().isel(time=slice(0, 8)), tmp_path / "short.nc")
    result = stgate_command("forecast", tmp_path / "short.nc", "--checkpoint", checkpoint, "--out", tmp_path / "f.nc")
    one_line(result, "steps of history", "window needs 12")


def test_an_unknown_model_gets_a_suggestion(stgate_command, saved, tmp_path):
    one_line(stgate_command("fit", "--model", "GatedRN", "--data.panel", saved), "GatedRN", "did you mean GatedRNN?")
    (tmp_path / "c.yaml").write_text("model:\n  class_path: GatedRN\ndata:\n  panel: p.nc\n  targets: [y]\n")
    one_line(stgate_command("fit", "--config", tmp_path / "c.yaml"), "GatedRN", "did you mean GatedRNN?")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("fitt",), ("'fitt'", "did you mean fit?")),
        (("simulate", "lorenz69", "--out", "x.nc"), ("lorenz69", "did you mean lorenz96?")),
        (("simulate", "lorenz96", "--node", "40", "--out", "x.nc"), ("--node", "did you mean --nodes?")),
        (("simulate", "lorenz96", "--nodes", "forty", "--out", "x.nc"), ("--nodes", "forty")),
        (("simulate", "lorenz96", "--duration", "1.01", "--out", "x.nc"), ("duration 1.01", "try 1")),
        (("simulate", "lorenz96"), ("--out",)),
        (("simulate", "lorenz96", "--out", "x.txt"), (".txt", ".nc, .zarr")),
        (("simulate", "lorenz96", "--out", "no/such/x.nc"), ("does not exist", "mkdir -p")),
        (("forecast", "nothing.nc", "--checkpoint", "none.ckpt", "--out", "f.nc"), ("none.ckpt", "no such checkpoint")),
        (("evaluate", "nothing.nc"), ("nothing.nc", "no such file")),
        (("plot", "f.nc", "--out", "f.gif"), (".gif", ".png")),
        (("plot", "f.nc", "--kind", "fann", "--out", "f.png"), ("did you mean fan?",)),
        (("calibrate", "p", "--checkpoint", "c", "--scores", "cqr", "--out", "d"), ("is now --conformity-score",)),
        (("data", "chekc", "p.nc"), ("did you mean check?",)),
        (("test",), ("--ckpt_path",)),
    ],
)
def test_a_slip_on_the_command_line_is_named(stgate_command, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    one_line(stgate_command(*arguments), *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "slip", ["--data.targts", "--data.horizn=6", "--trainer.max_epoch=3", "--model.hiden=3", "--overwrit"]
)
def test_a_misspelt_option_of_fit_gets_a_suggestion_and_no_abbreviation_passes(stgate_command, saved, tmp_path, slip):
    right = {
        "--data.targts": "--data.targets",
        "--data.horizn=6": "--data.horizon",
        "--trainer.max_epoch=3": "--trainer.max_epochs",
        "--model.hiden=3": "hidden",
        "--overwrit": "--overwrite",
    }[slip]
    data = ("--data.panel", saved, "--data.targets", "[y]")
    one_line(
        stgate_command("fit", "--model", "GatedRNN", *data, slip, "--out", tmp_path / "run"), "did you mean", right
    )
    assert not (tmp_path / "run").exists()


def test_an_option_of_another_model_is_told_whose_it_is(stgate_command, saved):
    given = ("fit", "--model", "Persistence", "--model.hidden", 4, "--data.panel", saved, "--data.targets", "[y]")
    one_line(stgate_command(*given), "--model.hidden", "not an option of this model", "GatedRNN")


def test_overwrite_spares_a_folder_that_is_not_a_run(stgate_command, saved, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("precious")
    (tmp_path / "run" / "config.yaml").write_text("of another tool")
    one_line(fit(stgate_command, tmp_path, saved, "--overwrite"), "not a run", "thesis.txt", "another name")
    assert (tmp_path / "run" / "thesis.txt").read_text() == "precious"


def test_a_run_is_only_replaced_once_the_new_request_holds(stgate_command, saved, tmp_path):
    assert fit(stgate_command, tmp_path, saved)[0] == 0
    before = (tmp_path / "run" / "best.ckpt").read_bytes()
    one_line(fit(stgate_command, tmp_path, tmp_path / "gone.nc", "--overwrite"), "gone.nc")
    assert (tmp_path / "run" / "best.ckpt").read_bytes() == before


def test_an_existing_result_is_not_overwritten_unasked(stgate_command, saved, tmp_path):
    out = tmp_path / "l96.nc"
    simulate = ("simulate", "lorenz96", "--nodes", 8, "--duration", 1, "--out", out)
    assert stgate_command(*simulate)[0] == 0
    one_line(stgate_command(*simulate), "exists", "--overwrite")
    assert stgate_command(*simulate, "--overwrite")[0] == 0
    assert fit(stgate_command, tmp_path, saved)[0] == 0
    one_line(fit(stgate_command, tmp_path, saved), "exists", "--resume", "--overwrite")


def test_a_conflict_between_checkpoint_and_command_line_is_refused(stgate_command, checkpoint):
    data = ("--data.panel", checkpoint.parents[1] / "panel.nc", "--data.targets", "[y]", "--data.window", 12)
    given = ("--ckpt_path", checkpoint, *data)
    assert stgate_command("test", *given, "--data.horizon", 6)[0] == 0
    one_line(
        stgate_command("test", *given, "--data.horizon", 6, "--model.hidden", 32), "--model.hidden 32", "fitted with 4"
    )
    one_line(stgate_command("test", *given, "--data.horizon", 6, "--model", "Ridge"), "Ridge", "holds a GatedRNN")
    one_line(stgate_command("test", *given, "--data.horizon", 7), "horizon", "fitted with 6", "have 7")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("--model Ridge --model.hiden 4", ("--model.hiden", "did you mean --model.hidden?")),
        (
            '--model GatedRNN --model.rollout {"unroll":2,"shceme":"rk4"}',
            ("--model.rollout.shceme:", "did you mean --model.rollout.scheme?"),
        ),
        ("--model GatedRNN --model.rollout.unroll abc", ("--model.rollout.unroll abc: expected int or sequence",)),
        (
            "--model GatedRNN --model.optimizer torch.optim.Adam --model.optimizer.lr x",
            ("--model.optimizer.lr x: expected float",),
        ),
        ("--model CGLUBNF --data.window 4", ("--data.window", "--data.context")),
        ("--model.hidden 4", ("--model.hidden", "give --model first", "GatedRNN")),
        ("--model.inference Ensembl", ("--model.inference Ensembl", "no such class", "did you mean Ensemble?")),
        ("--model.likelihood stgate.nn.StudentT", ("stgate.nn.StudentT: no such class", "did you mean StudentT?")),
        ("--model.likelihood Norml", ("--model.likelihood Norml", "did you mean Normal?")),
        ("--model.inference.members 4", ("--model.inference.members", "give --model.inference first", "Ensemble")),
        (
            "--model.inference Ensemble --model.inference.member 4",
            ("--model.inference.member:", "no such option", "did you mean --model.inference.members?"),
        ),
        (
            "--model.inference Ensemble --model.inference.draws 3",
            ("--model.inference.draws:", "not an option of this class, but of MeanField"),
        ),
        ("--model.inference Ensemble --model.inference.members two", ("--model.inference.members two", "int")),
        ("--model.rollout.scheme rk5", ("--model.rollout.scheme rk5", "did you mean rk4?")),
        ("--model.likelihood Normal --model.likelihood.link expp", ("--model.likelihood.link expp", "mean exp?")),
        ("--model.inference Ensemble --model.inference.members 0", ("members 0", "at least 1")),
        (
            "--model.inference MeanField --model.inference.prior laplace",
            ("--model.inference.prior laplace", "normal, logistic"),
        ),
    ],
)
def test_a_part_of_a_model_that_is_not_there_is_named_in_whole(stgate_command, tmp_path, saved, given, words):
    given = given if given.startswith(("--model ", "--model.hidden")) else f"--model GatedRNN {given}"
    arguments = ("--data.panel", saved, "--data.targets", "y", "--out", tmp_path / "run", *given.split())
    one_line(stgate_command("fit", *arguments), *words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["forecast", "backtest"])
def test_a_panel_that_is_not_there_is_named(stgate_command, tmp_path, checkpoint, command):
    given = (command, "nothing.nc", "--checkpoint", checkpoint, "--out", tmp_path / "f.nc")
    one_line(stgate_command(*given), "nothing.nc", "no such file")
    one_line(stgate_command(*given, "--max-memory", 0), "max_memory 0", "positive")
    assert not (tmp_path / "f.nc").exists()


def test_what_a_class_takes_is_told(stgate_command):
    code, out, _ = stgate_command("fit", "--model.help", "GatedRNN")
    assert code == 0 and "--model.hidden" in out


def test_a_fit_that_is_refused_leaves_nothing_and_one_that_never_began_may_begin_again(stgate_command, tmp_path):
    panel = make_panel(steps=400)
    stgate.write(panel, tmp_path / "p.zarr")
    given = ("--data.panel", tmp_path / "p.zarr", "--data.targets", "[y]", "--data.window", 6, "--data.horizon", 2)
    small = ("--data.max_memory", 0.005)
    begin = ("fit", "--model", "Persistence", *given, "--out", tmp_path / "run")
    one_line(stgate_command(*begin, *small), "in blocks")
    assert not (tmp_path / "run").exists()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("of a fit that was killed before its first checkpoint")
    one_line(stgate_command(*begin, "--resume"), "no epoch was completed; start again without --resume")
    assert stgate_command(*begin)[0] == 0


def test_the_runs_own_config_agrees_with_its_checkpoint(stgate_command, checkpoint):
    given = ("--config", checkpoint.parent / "config.yaml", "--ckpt_path", checkpoint)
    for command, word in (("validate", "val_mae"), ("test", "test_mae")):
        code, out, _ = stgate_command(command, *given)
        assert code == 0
        assert word in out


def test_predict_writes_the_test_parts_forecasts_and_they_are_those_of_backtest(stgate_command, tmp_path, checkpoint):
    given = ("--config", checkpoint.parent / "config.yaml", "--ckpt_path", checkpoint)
    one_line(stgate_command("predict", *given), "--out")
    assert stgate_command("predict", *given, "--out", tmp_path / "predicted.nc")[0] == 0
    predicted = stgate.open_forecast(tmp_path / "predicted.nc")
    whole = stgate.backtest(checkpoint, stgate.open_panel(checkpoint.parents[1] / "panel.nc"))
    same = whole.sel(init_time=predicted["init_time"])
    np.testing.assert_allclose(predicted["y"], same["y"], rtol=1e-5)
    np.testing.assert_array_equal(predicted["y_truth"], same["y_truth"])
    np.testing.assert_array_equal(predicted["steps_since_observed"], same["steps_since_observed"])


def test_a_users_own_config_yaml_is_left_alone_without_a_logger(stgate_command, saved, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text("mine: true\n")
    assert fit(stgate_command, tmp_path, saved, "--trainer.logger", "false")[0] == 0
    assert (tmp_path / "config.yaml").read_text() == "mine: true\n"
    assert (tmp_path / "run" / "config.yaml").exists()


def test_a_level_that_was_not_calibrated_is_refused(stgate_command, tmp_path, checkpoint):
    panel = checkpoint.parents[1] / "panel.nc"
    ask = ("forecast", panel, "--checkpoint", checkpoint, "--out", tmp_path / "f.nc", "--levels")
    one_line(stgate_command(*ask, 0.77), "level 0.77", "0.9")
    one_line(stgate_command(*ask, 90), "level 90", "between 0 and 1")


class Stranger:
    """An object that a checkpoint must not carry."""


def test_a_checkpoint_with_a_pickled_object_is_refused(stgate_command, tmp_path, checkpoint):
    content = torch.load(checkpoint, weights_only=True)
    torch.save({**content, "extra": Stranger()}, tmp_path / "evil.ckpt")
    panel = checkpoint.parents[1] / "panel.nc"
    result = stgate_command("forecast", panel, "--checkpoint", tmp_path / "evil.ckpt", "--out", tmp_path / "f.nc")
    one_line(result, "evil.ckpt", "refused", "pickled object")


def test_debug_shows_the_traceback(tmp_path):
    from stgate.__main__ import main
    from stgate.errors import StoreError

    with pytest.raises(StoreError):
        main(["evaluate", str(tmp_path / "nothing.nc"), "--debug"])


def test_a_failure_of_the_work_itself_exits_with_1(stgate_command, tmp_path, monkeypatch):
    from stgate.errors import SimulationError

    def blow_up(*args, **kwargs):
        raise SimulationError("member 0 blew up by time 1")

    monkeypatch.setattr("stgate.simulate.run.simulate", blow_up)
    code, _, err = stgate_command("simulate", "lorenz96", "--out", tmp_path / "x.nc")
    assert code == 1
    assert "blew up" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model:\n  class_path: GatedRNN\n  init_args:\n    hidden: abc", ("--model.hidden abc: expected int",)),
        (
            "model:\n  class_path: GatedRNN\n  init_args:\n    hiden: 3",
            ("--model.hiden", "did you mean --model.hidden?"),
        ),
        ("model: {a\ndata: 3", ("c.yaml", "line 2", "not valid YAML")),
        ("model: !own GatedRNN", ("c.yaml", "line 1", "constructor")),
        ("day: 2020-13-45", ("c.yaml", "not valid YAML")),
        ("a: " + "[" * 400, ("c.yaml", "more than 50 levels")),
        ("- model", ("c.yaml", "no options")),
        ("model: GatedRNN\ndata:\n  window: twelve", ("--data.window twelve: expected int",)),
    ],
)
def test_what_is_wrong_in_a_config_is_named_by_its_option(stgate_command, saved, tmp_path, text, words):
    (tmp_path / "c.yaml").write_text(text)
    data = ("--data.panel", saved, "--data.targets", "[y]")
    one_line(stgate_command("fit", "--config", tmp_path / "c.yaml", *data, "--out", tmp_path / "run"), *words)
    assert not (tmp_path / "run").exists()


def test_an_option_that_the_optimizer_refuses_is_named(stgate_command, saved, tmp_path):
    data = ("--data.panel", saved, "--data.targets", "[y]", "--data.window", 12, "--data.horizon", 6)
    model = ("--model", "GatedRNN", "--model.hidden", 4, "--model.optimizer", "torch.optim.Adam")
    code, _, err = stgate_command("fit", *model, "--model.optimizer.lr", -1, *data, "--out", tmp_path / "run")
    assert code == 2 and "stgate: optimizer: Invalid learning rate: -1.0" in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "given, words",
    [
        ("mask p.nc --variable y --rate -1e-1", ("rate -0.1", "between 0 and 1")),
        ("simulate lorenz96 --step -1e-3", ("step -0.001", "positive")),
        ("simulate lorenz96 --step -inf", ("step -inf",)),
        ("simulate lorenz96 --step -0,5", ("--step", "'-0,5'")),
        ("mask p.nc --rate -x", ("--rate", "--rate=-x")),
        ("data convert a.csv --missing -NA", ("--missing", "--missing=-NA")),
        ("mask p.nc --rate --seed 1", ("--rate", "expected one argument", "--help")),
        ("fit --model GatedRNN --data.panel p.nc --data.window -1e1", ("--data.window",)),
    ],
)
def test_a_value_that_begins_with_a_hyphen_is_read_or_the_way_to_write_it_is_told(
    stgate_command, tmp_path, saved, given, words
):
    given = given.replace("p.nc", str(saved))
    one_line(stgate_command(*given.split(), "--out", tmp_path / "out.nc"), *words)


@pytest.mark.parametrize("marks", [("-99,9", "-999"), ("-999", "-99,9"), ("=-99,9", "=-999")])
def test_marks_below_zero_with_a_decimal_comma_are_missing(stgate_command, tmp_path, marks):
    rows = "".join(f"2020-01-0{day};a;{value}\n" for day, value in enumerate(["1,5", "-99,9", "2,5", "-999"], 1))
    (tmp_path / "t.csv").write_text(f"time;node;y\n{rows}")
    missing = [f"--missing{m}" for m in marks] if marks[0].startswith("=") else ["--missing", *marks]
    table = (tmp_path / "t.csv", "--node", "node", "--separator", ";", "--decimal", ",")
    code, _, error = stgate_command("data", "convert", *table, *missing, "--out", tmp_path / "p.nc")
    assert code == 0, error
    values = stgate.io.open_panel(tmp_path / "p.nc")["y"].values.ravel()
    np.testing.assert_array_equal(values, [1.5, np.nan, 2.5, np.nan])
