"""Arrays of `.npz` files of anybody."""

import io
import zipfile

import numpy as np
import pytest

from stgate.errors import PanelError, StgateError, StoreError
from stgate.io import read_npz
from stgate.io.safe.archive import load_array, load_arrays


def npz(path, *, content=b"", header=None, name="data.npy", version=(1, 0)):
    """Write a file whose one array has a header of anything."""
    buffer = io.BytesIO()
    buffer.write(b"\x93NUMPY" + bytes(version))
    text = (header if isinstance(header, bytes) else repr(header).encode()) + b"\n"
    buffer.write(len(text).to_bytes(2 if version == (1, 0) else 4, "little") + text + content)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, buffer.getvalue())
    return path


def header(shape=(2, 3), descr="<f8", order=False):
    return {"descr": descr, "fortran_order": order, "shape": shape}


def test_arrays_come_back(tmp_path):
    held = {"data": np.arange(6.0).reshape(2, 3), "empty": np.empty((0, 4)), "one": np.int8(3), "text": np.array(["a"])}
    for write in (np.savez, np.savez_compressed):
        write(tmp_path / "a.npz", **held)
        made = load_arrays(tmp_path / "a.npz")
        assert made.keys() == held.keys() and all((made[name] == held[name]).all() for name in held)
        assert (load_array(tmp_path / "a.npz", "data") == held["data"]).all()
    with pytest.raises(PanelError, match=r"a\.npz: no array 'date'; did you mean data"):
        load_array(tmp_path / "a.npz", "date")


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0), (9, 9)])
@pytest.mark.parametrize(
    "held",
    [
        header((10**12,)),
        header((2**62, 2**62)),
        header((-1,)),
        header((-2, -3)),
        header((1.5,)),
        header((3, 3)),
        header((1,) * 65),
        header("x"),
        header(None),
        header(descr="|O"),
        header(descr="nope"),
        header(descr=None),
        header(descr="|V0"),
        header(descr="<U999999999999"),
        header(descr=[("a", "|O")]),
        header(order=3),
        {},
        [1],
        b"{" * 3000,
        b"#" * 60_000,
        b"\xff\xfe",
    ],
)
def test_a_header_of_anything_is_one_line(held, version, tmp_path):
    path = npz(tmp_path / "a.npz", content=np.arange(6.0).tobytes(), header=held, version=version)
    for read in (load_arrays, lambda path: load_array(path, "data")):
        with pytest.raises(StoreError, match=r"a\.npz: not a readable \.npz") as caught:
            read(path)
        assert str(caught.value).isprintable()


@pytest.mark.parametrize("shape", [(2, 3), (1, 1, 6), (6,)])
def test_a_header_that_tells_the_truth_is_believed(shape, tmp_path):
    path = npz(tmp_path / "a.npz", content=np.arange(6.0).tobytes(), header=header(shape))
    assert load_array(path, "data").shape == shape


@pytest.mark.parametrize(
    "content", [b"", b"PK", b"PK\x05\x06" + bytes(18), np.arange(9.0).tobytes(), b"\x93NUMPY\x01\x00"]
)
def test_a_file_of_anything_is_refused(content, tmp_path):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(StgateError, match=r"a\.npz"):
        read_npz(tmp_path / "a.npz", ["y"])


def test_a_member_that_is_no_array_or_stands_twice_is_one_line(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("data", b"text")
    with pytest.raises(StoreError, match="not a readable"):
        load_array(tmp_path / "a.npz", "data")


def test_a_cut_archive_is_one_line(tmp_path):
    np.savez(tmp_path / "a.npz", data=np.arange(600.0))
    whole = (tmp_path / "a.npz").read_bytes()
    for length in (10, 100, len(whole) // 2, len(whole) - 1):
        (tmp_path / "a.npz").write_bytes(whole[:length])
        with pytest.raises(StoreError, match="not a readable"):
            load_arrays(tmp_path / "a.npz")
