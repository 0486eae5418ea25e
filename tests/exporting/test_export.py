"""An exported graph gives the numbers of `stgate.forecast` in a process that imports neither torch nor stgate."""

import json

import numpy as np
import onnx
import pytest
import torch
from exporting.graphs import CHECKPOINTS, LEVELS, expected, inputs_of, same_numbers, served
from helpers import one_line, refusal, says

import stgate
from stgate.errors import PanelError, RequestError, StoreError

OLD, NEW = CHECKPOINTS / "format1", CHECKPOINTS / "format4"
ROWS = [30, 60, 135, 150, 200]
"""Origins in the panel of the checkpoints, whose third node is never observed from row 100 to 129."""


@pytest.fixture(scope="module")
def panel():
    return stgate.open_panel(OLD / "panel.nc")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A checkpoint's predictor and its graph; each is exported once."""
    folder, made = tmp_path_factory.mktemp("graphs"), {}

    def of(path, suffix=".onnx", **options):
        key = path.name + suffix + "+".join(options)
        if key not in made:
            model = stgate.load(path)
            made[key] = model, stgate.export(model, folder / f"{key}{suffix}", levels=LEVELS, **options)
        return made[key]

    return of


def check(model, path, panel, rows, folder, **options):
    """Each window, cut out of the panel, is forecast as `stgate.forecast` does."""
    found = served(path, inputs_of(model.fitted_spec, panel, rows, **options), folder)
    assert len(found["mean"]) == len(rows)
    for number, row in enumerate(rows):
        first = 0 if options.get("since") else row - model.fitted_spec.window + 1
        cut = panel.isel(time=slice(first, row + 1 + model.fitted_spec.horizon))
        same_numbers(model, found, number, expected(model, cut, row - first))


@pytest.mark.parametrize("name", ["persistence", "ridge"])
@pytest.mark.parametrize("rows", [ROWS[:1], ROWS], ids=["one window", "five windows"])
def test_gaps_and_any_number_of_windows(exported, panel, tmp_path, name, rows):
    model, path = exported(OLD / f"{name}.ckpt", panel=panel)
    check(model, path, panel, rows, tmp_path)


@pytest.mark.parametrize("case", ["complete", "a node is missing", "all is missing"])
def test_windows_without_gaps_and_windows_of_gaps(exported, panel, tmp_path, case):
    model, path = exported(OLD / "ridge.ckpt", panel=panel)
    edited = panel.interpolate_na("time").ffill("time").bfill("time").copy(deep=True)
    if case == "a node is missing":
        edited["y"].loc[{"node": "b"}] = np.nan
    elif case == "all is missing":
        edited["y"][:61] = np.nan
    check(model, path, edited, [60], tmp_path)


def test_a_longer_gap_is_told_by_since(exported, panel, tmp_path):
    """The third node was last observed long before the window: the graph is told, as the whole panel tells."""
    model, path = exported(OLD / "ridge.ckpt", panel=panel)
    check(model, path, panel, [125, 127], tmp_path, since=True)
    known, unknown = (
        served(path, inputs_of(model.fitted_spec, panel, [125], since=told), tmp_path)["quantiles"]
        for told in (True, False)
    )
    assert (known[:, :, 2] != unknown[:, :, 2]).any()
    np.testing.assert_array_equal(np.delete(known, 2, 2), np.delete(unknown, 2, 2))


def test_static_covariates_are_an_input_without_a_panel(exported, panel, tmp_path):
    model, path = exported(OLD / "persistence.ckpt")
    check(model, path, panel, [60], tmp_path, static=True)


def test_a_file_says_what_it_is(exported, panel):
    model, path = exported(OLD / "ridge.ckpt", panel=panel)
    notes = {entry.key: json.loads(entry.value) for entry in onnx.load(path).metadata_props}
    assert stgate.schema.spec.PanelSpec.from_dict(notes["spec"]) == model.fitted_spec
    assert notes["weights"] == model.fingerprint() and notes["stgate_version"] == stgate.__version__
    assert notes["quantiles"] == [0.1, 0.25, 0.5, 0.75, 0.9] and notes["levels"] == list(LEVELS)
    assert notes["nodes"] == list("abcde") and notes["units"]["y"] == "ug/m3" and notes["targets"] == ["y"]
    assert notes["calibration"]["levels"] == list(LEVELS) and notes["inputs"] == ["past", "time", "since"]


def test_a_program_of_torch_has_the_same_numbers(exported, panel):
    model, path = exported(OLD / "ridge.ckpt", ".pt2", panel=panel)
    extra = {"nodes": "", "levels": ""}
    program = torch.export.load(path, extra_files=extra).module()
    assert json.loads(extra["nodes"]) == list("abcde") and json.loads(extra["levels"]) == list(LEVELS)
    for rows in ([60], ROWS):
        given = inputs_of(model.fitted_spec, panel, rows, since=True)
        quantiles, mean = program(*(torch.from_numpy(given[name]) for name in ("past", "time", "since")))
        found = {"quantiles": quantiles.numpy(), "mean": mean.numpy()}
        same_numbers(model, found, 0, expected(model, panel, rows[0]))


# Refusals


@pytest.mark.parametrize(
    "checkpoint, options, words",
    [
        ("gated_rnn_rollout", {}, ("GatedRNN", "samples")),
        ("cglubnf", {}, ("CGLUBNF", "panel")),
        ("bayesnf", {}, ("BayesNF", "panel")),
        ("stack", {}, ("Stack", "members")),
        ("ridge", {"levels": [0.9]}, ("0.9", "not calibrated")),
        ("ridge", {"levels": [1.5]}, ("1.5",)),
    ],
)
def test_what_has_no_graph_is_refused_and_nothing_is_written(tmp_path, checkpoint, options, words):
    model = stgate.load((NEW if checkpoint == "stack" else OLD) / f"{checkpoint}.ckpt")
    message = refusal(RequestError, stgate.export, model, tmp_path / "x.onnx", **({"levels": LEVELS} | options))
    says(message, *words)
    assert not list(tmp_path.iterdir())


def test_a_panel_that_does_not_fit_is_refused(tmp_path, panel):
    model = stgate.load(OLD / "ridge.ckpt")
    other = panel.isel(node=[0, 1])
    says(refusal(PanelError, stgate.export, model, tmp_path / "x.onnx", levels=LEVELS, panel=other), "lacks", "'c'")


@pytest.mark.parametrize("name, word", [("x.nc", ".onnx"), ("gone/x.onnx", "does not exist"), ("x", ".pt2")])
def test_places_that_cannot_be_written_are_refused_first(tmp_path, name, word):
    says(refusal(StoreError, stgate.export, "no.ckpt", tmp_path / name), word)


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_a_missing_package_is_named(tmp_path, monkeypatch, package):
    from stgate.exporting import files

    found = files.importlib.util.find_spec
    monkeypatch.setattr(files.importlib.util, "find_spec", lambda name: None if name == package else found(name))
    message = refusal(RequestError, stgate.export, OLD / "ridge.ckpt", tmp_path / "x.onnx", levels=LEVELS)
    says(message, package, "pip install 'stgate[export]'")


def test_what_the_exporter_lacks_is_one_line(tmp_path, monkeypatch):
    from stgate.exporting import files

    def fails(*_, **__):
        raise ValueError("no such thing\nand more")

    monkeypatch.setattr(files.torch.export, "export", fails)
    message = refusal(RequestError, stgate.export, OLD / "persistence.ckpt", tmp_path / "x.onnx", levels=LEVELS)
    says(message, "Persistence", "no such thing")
    assert not list(tmp_path.iterdir())


# The command


def test_the_command_exports(stgate_command, tmp_path, panel):
    out = tmp_path / "x.onnx"
    given = ("export", OLD / "persistence.ckpt", "--levels", "0.5", "0.8", "--panel", OLD / "panel.nc", "--out", out)
    code, printed, err = stgate_command(*given)
    assert (code, printed) == (0, "") and out.exists()
    assert [line.split()[0] for line in err.splitlines()] == ["exporting", "wrote"]
    one_line(stgate_command(*given), "exists", "--overwrite")
    assert [path.name for path in tmp_path.iterdir()] == ["x.onnx"]


@pytest.mark.parametrize(
    "arguments, word",
    [
        (("gone.ckpt", "--out", "x.onnx"), "gone.ckpt"),
        ((OLD / "ridge.ckpt", "--out", "x.bin"), ".onnx"),
        ((OLD / "ridge.ckpt",), "--out"),
        ((OLD / "ridge.ckpt", "--out", "x.onnx", "--level", "0.5"), "--levels"),
        ((OLD / "panel.nc", "--out", "x.onnx"), "panel.nc"),
    ],
)
def test_the_command_refuses_in_one_line(stgate_command, tmp_path, monkeypatch, arguments, word):
    monkeypatch.chdir(tmp_path)
    code, printed, err = stgate_command("export", *arguments)
    assert (code, printed) == (2, "") and word in err.splitlines()[-1]
    assert not list(tmp_path.iterdir())


# All forecasters


@pytest.mark.parametrize(
    "name",
    [
        "gated_rnn",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("climatology", "gated_transformer", "sth_sepnet")),
    ],
)
def test_each_forecaster(exported, panel, tmp_path, name):
    model, graph = exported(OLD / f"{name}.ckpt", panel=panel)
    for rows in (ROWS[:1], ROWS):
        check(model, graph, panel, rows, tmp_path)
