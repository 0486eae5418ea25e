"""The plain content of a checkpoint, read without torch: the same as torch's, and nothing of the file runs."""

import io
import pickle
import subprocess
import zipfile
from pathlib import Path

import pytest
import torch

from stgate.errors import CheckpointError, StoreError
from stgate.prediction import plain

CHECKPOINTS = sorted((Path(__file__).parents[1] / "checkpoints").rglob("*.ckpt"))


def without_tensors(held):
    if isinstance(held, dict):
        return {key: without_tensors(value) for key, value in held.items()}
    if isinstance(held, list | tuple):
        return type(held)(map(without_tensors, held))
    return None if isinstance(held, torch.Tensor) else held


@pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda path: path.stem)
def test_it_is_what_torch_reads_but_for_the_tensors(path):
    held = without_tensors(torch.load(path, map_location="cpu", weights_only=True))
    assert plain.look(path) == held
    roles = ("targets", "past_covariates", "future_covariates")
    assert plain.channels_of(plain.spec_of(held)) == [name for role in roles for name in held["stgate"]["spec"][role]]


class Ours:
    def __reduce__(self):
        return subprocess.call, (["touch", "ran"],)


@pytest.mark.parametrize("protocol", [2, 4])
def test_no_code_of_a_file_runs(tmp_path, monkeypatch, protocol):
    monkeypatch.chdir(tmp_path)
    torch.save({"stgate": Ours()}, "evil.ckpt", pickle_protocol=protocol)
    try:
        assert plain.look("evil.ckpt") is None
    except CheckpointError as error:
        assert "holds a pickled object" in str(error)
    assert not Path("ran").exists()


def packed(folder, content):
    with zipfile.ZipFile(folder / "odd.ckpt", "w") as archive:
        archive.writestr("odd/data.pkl", content)
    return folder / "odd.ckpt"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x02",
        b"\x80\x02.",
        b"\x80\x02K\x01.",
        b"\x80\x02}" + b"q\x00h\x00" * 20 + b".",
        b"\x80\x02h\x07.",
        b"\x80\x02(t(t(t.",
        b"\x80\x02]" + b"2" * 50 + b".",
        b"\x80\x02cbuiltins\neval\nU\x011\x85R.",
        b"\x80\x02K\x01K\x02R.",
        b"\x80\x02]q\x00h\x00a.",
        pickle.dumps(1, protocol=4),
        pickle.dumps({"stgate": {}}, protocol=2),
    ],
    ids=range(13),
)
def test_odd_bytes_are_refused_or_left_to_torch(tmp_path, content):
    path = packed(tmp_path, content)
    try:
        assert plain.look(path) is None
    except CheckpointError as error:
        assert str(error).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "not a checkpoint"), (b"a table\n1,2\n", "not a checkpoint"), (b"PK\x03\x04 cut", "cut or broken")],
)
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, content, words):
    (tmp_path / "m.ckpt").write_bytes(content)
    with pytest.raises(CheckpointError, match=words):
        plain.look(tmp_path / "m.ckpt")
    with pytest.raises(CheckpointError, match="a folder"):
        plain.look(tmp_path)
    with pytest.raises(StoreError, match="no such checkpoint"):
        plain.look(tmp_path / "none.ckpt")


def test_a_cut_archive_and_the_older_form_of_torch_are_told_apart(tmp_path):
    buffer = io.BytesIO()
    torch.save({"stgate": {}}, buffer)
    (tmp_path / "cut.ckpt").write_bytes(buffer.getvalue()[:-40])
    with pytest.raises(CheckpointError, match="cut or broken"):
        plain.look(tmp_path / "cut.ckpt")
    torch.save({"stgate": {}}, tmp_path / "old.ckpt", _use_new_zipfile_serialization=False)
    assert plain.look(tmp_path / "old.ckpt") is None
