"""Checkpoints whose content is not what a forecaster writes: one line that names the file, and no gigabytes."""

import io
import resource
import zipfile
from pathlib import Path

import pytest
import torch

import stgate
from stgate.errors import CheckpointError, StgateError
from stgate.models import Forecaster

FORMAT1 = Path(__file__).parents[1] / "checkpoints" / "format1"


def spoilt(folder, spoil, name="gated_rnn"):
    held = torch.load(FORMAT1 / f"{name}.ckpt", weights_only=True)
    spoil(held)
    torch.save(held, folder / "odd.ckpt")
    return folder / "odd.ckpt"


def put(section, name, value):
    return lambda held: held[section].__setitem__(name, value)


def in_spec(name, value):
    return lambda held: held["stgate"]["spec"].__setitem__(name, value)


@pytest.mark.parametrize(
    "spoil",
    [
        put("stgate", "spec", None),
        put("stgate", "spec", {}),
        put("stgate", "calibration", 3),
        put("stgate", "calibration", {"levels": "x"}),
        put("stgate", "format", "1"),
        put("stgate", "class", ["GatedRNN"]),
        put("stgate", "class", "NoSuch"),
        in_spec("nodes", 5),
        in_spec("window", "long"),
        in_spec("targets", None),
        put("hyper_parameters", "hidden", "eight"),
        put("hyper_parameters", "hidden", None),
        put("hyper_parameters", "likelihood", 7),
        put("hyper_parameters", "likelihood", {"class_path": "StudentT", "init_args": [1]}),
        put("hyper_parameters", "dropout", float("nan")),
        put("hyper_parameters", 5, 5),
        lambda held: held.__setitem__("hyper_parameters", []),
        lambda held: held.__setitem__("state_dict", [1]),
        lambda held: held["state_dict"].__setitem__("predictor.scaler.center", 3.0),
        lambda held: held["state_dict"].popitem(),
    ],
)
def test_content_of_other_kinds_is_one_line_that_names_the_file(spoil, tmp_path):
    path = spoilt(tmp_path, spoil)
    for read in (stgate.load, Forecaster.load_from_checkpoint):
        with pytest.raises(StgateError) as caught:
            read(path)
        assert str(caught.value).isprintable()
        assert read is not stgate.load or "odd.ckpt" in str(caught.value) or "NoSuch" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("gated_rnn", put("hyper_parameters", "layers", 10**8)),
        ("gated_rnn", put("hyper_parameters", "layers", 10**9)),
        ("gated_rnn", put("hyper_parameters", "hidden", 30_000)),
        ("gated_rnn", in_spec("horizon", 10**9)),
        ("gated_rnn", in_spec("horizon", 10**6)),
        ("persistence", in_spec("window", 10**12)),
        ("bayesnf", put("hyper_parameters", "width", 30_000)),
    ],
)
def test_sizes_far_from_those_of_the_weights_are_refused_before_their_memory_is_used(name, spoil, tmp_path):
    path, before = spoilt(tmp_path, spoil, name), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match=r"odd\.ckpt: .*(far|memory)"):
        stgate.load(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000


@pytest.mark.parametrize(
    "edit", [lambda b: b[:-1], lambda b: b"", lambda b: b[:20] + b"\xff" * 9 + b[29:], lambda b: b + b]
)
def test_a_spoilt_pickle_is_refused_unread(edit, tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(FORMAT1 / "gated_rnn.ckpt") as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            held = old.read(name)
            new.writestr(name, edit(held) if name.endswith(".pkl") else held)
    (tmp_path / "odd.ckpt").write_bytes(buffer.getvalue())
    try:
        stgate.load(tmp_path / "odd.ckpt")
    except CheckpointError as error:
        assert "odd.ckpt" in str(error) and str(error).isprintable()
