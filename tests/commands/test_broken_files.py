"""Files of a run that are broken: options, scores, fits that are kept, states of simulations."""

import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from helpers import make_panel

import stgate
from stgate.commands.fit.arguments import check_files
from stgate.commands.fit.runs import Scores
from stgate.errors import RequestError, StgateError
from stgate.fitting.attempts import kept
from stgate.simulate import lorenz96

BROKEN = {
    "deep": ("x: " + "[" * 60 + "]" * 60, "more than 50 levels"),
    "alias": ("a: &a [x,x,x,x,x,x,x,x]\n" + "".join(
        f"{b}: &{b} [{','.join([f'*{a}'] * 8)}]\n" for a, b in zip("abcdefg", "bcdefgh", strict=True)
    ), "expand to over"),
    "long": ("#" * 300_000, "more than 262,144 bytes"),
    "tag": ("a: !!python/name:os.system", "could not determine"),
    "tab": ("a:\n\tb: 1", "line 2"),
    "list": ("- a", "holds no options"),
    "empty": ("", "holds no options"),
    "twice": ("data:\n  window: 12\n  horizon: 3\n  window: 24\n", "line 4: 'window' is given twice"),
    "twice outside": ("data: {}\nmodel: Ridge\ndata: {}\n", "line 3: 'data' is given twice"),
    "number": ("1: 2", "1 is no name"),
    "list of trainer": ("trainer: [1]", "trainer: holds a list"),
    "list of data": ("data: [panel]", "data: holds a list"),
    "comments": ("# panel: a.nc\n---\n", "holds no options"),
    "bytes": ("\x00", "not text"),
}  # fmt: skip


@pytest.mark.parametrize("how", ["--config {}", "--config={}", "-c {}", "--trainer {}", "--model={}"])
@pytest.mark.parametrize("kind", BROKEN)
def test_a_file_of_options_is_bounded_wherever_it_is_given(kind, how, tmp_path):
    content, said = BROKEN[kind]
    (tmp_path / "odd.yaml").write_text(content)
    with pytest.raises(RequestError, match=said) as caught:
        check_files(["--data.panel", "p.nc", *how.format(tmp_path / "odd.yaml").split()])
    assert "odd.yaml" in str(caught.value) and str(caught.value).isprintable()


def test_a_broken_config_is_one_line_of_the_command_also_beside_a_named_model(stgate_command, tmp_path):
    (tmp_path / "odd.yaml").write_text(BROKEN["alias"][0])
    for model in ("Ridge", "auto"):
        code, _, err = stgate_command(
            "fit", "--model", model, "--config", tmp_path / "odd.yaml", "--data.panel", "p.nc"
        )
        assert code == 2 and len(err.splitlines()) == 1 and "odd.yaml" in err


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00", b'epoch,val\n0,"', b"a\n1,2\n1,2,3\n\n1,2,3,4,5\n", b"epoch\n" + b"x" * 200_000]
)
def test_broken_scores_of_an_earlier_run_do_not_stop_its_resume(content, tmp_path):
    (tmp_path / "metrics.csv").write_bytes(content)
    scores = Scores(tmp_path)
    scores.log_metrics({"val": 1.0, "epoch": 2.0})
    scores.begin(2)
    assert pd.read_csv(tmp_path / "metrics.csv")["epoch"].tolist()[-1] == 2


@pytest.mark.parametrize(
    "notes", [{}, {"planned": 1}, {"planned": 1, "done": 1, "share": 5, "seconds": 1, "options": {}}]
)
def test_a_fit_whose_notes_are_broken_is_made_again(notes, tmp_path):
    (tmp_path / "a.ckpt").write_bytes(b"")
    (tmp_path / "a.json").write_text(json.dumps({"key": "k", **notes}))

    def fit():
        raise RequestError("made again")

    with pytest.raises(RequestError, match="made again"):
        kept(tmp_path / "a.ckpt", "k", fit)


@pytest.fixture
def stopped(tmp_path):
    options = {"nodes": 4, "duration": 4.0, "spinup": 0.5, "verify": False, "out": tmp_path / "l96.zarr"}

    def stop(done, total):
        if (tmp_path / "l96.zarr.partial" / "restart.npz").exists():
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("stgate.simulate.engine.SAVE_SECONDS", 0.0)
        patch.setattr("stgate.simulate.engine.SLICE_SECONDS", 1e-9)
        lorenz96(progress=stop, **options)
    return options, tmp_path / "l96.zarr.partial"


def test_a_stopped_simulation_with_broken_files_says_so_and_can_be_replaced(stopped):
    options, partial = stopped
    whole = (partial / "restart.npz").read_bytes()
    with np.load(partial / "restart.npz") as held:
        arrays = dict(held)
    for name, content in (
        ("restart.npz", b""),
        ("restart.npz", whole[:-30]),
        ("restart.npz", {"done": 1}),
        ("restart.npz", {"held": np.zeros((1, 2, 3, 4))}),
        ("restart.npz", {"held": np.zeros(3)}),
        ("restart.npz", {"done": 10**9}),
        ("restart.npz", {"states": np.zeros((7, 2))}),
        ("run.json", b"{"),
        ("run.json", b"[1]"),
        ("run.json", b"\xff"),
    ):
        before = (partial / name).read_bytes()
        if isinstance(content, dict):
            np.savez(partial / name, **({"done": 1} if content == {"done": 1} else {**arrays, **content}))
        else:
            (partial / name).write_bytes(content)
        with pytest.raises(StgateError, match=r"--overwrite") as caught:
            lorenz96(resume=True, **options)
        assert str(caught.value).isprintable() and name in str(caught.value)
        (partial / name).write_bytes(before)
    resumed = lorenz96(resume=True, **options)
    xr.testing.assert_equal(resumed.load(), lorenz96(**{**options, "out": None}))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("model: {class_path: , init_args: {hidden: 4}}", "model.class_path is empty"),
        ("model: {class_path: ''}", "model.class_path is empty"),
        ("model: {class_path: GatedRNN, dict_kwargs: {foo: 1}}", "takes no option 'foo'"),
        ("model: {class_path: GatedRNN, init_args: {hidden: 10000000}}", "needs more memory than there is"),
    ],
)
def test_odd_models_of_a_config_are_one_line(content, said, stgate_command, tmp_path):
    stgate.write(make_panel(steps=200), tmp_path / "panel.nc")
    (tmp_path / "odd.yaml").write_text(content)
    words = ("--data.targets", "[y]", "--data.window", 4, "--data.horizon", 4, "--data.batch_size", 1)
    code, _, err = stgate_command(
        "fit", "--config", tmp_path / "odd.yaml", "--data.panel", tmp_path / "panel.nc", *words, "--out", tmp_path / "r"
    )
    assert code in (1, 2) and said in err.splitlines()[-1]
    assert "Traceback" not in err
