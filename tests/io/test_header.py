"""Headers of classic netCDF files are read before the C library believes them."""

import itertools
import random

import netCDF4
import numpy as np
import pytest

from stgate.errors import StoreError
from stgate.io import store
from stgate.io.safe.header import check_header

FORMATS = ("NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF3_64BIT_DATA")


def make_file(path, format="NETCDF3_CLASSIC", *, records=True, kinds=("f4", "i2")):
    """Write rows of three values; a record of an `i2` alone takes six bytes, beside others eight."""
    with netCDF4.Dataset(path, "w", format=format) as file:
        file.title = "a test"
        file.createDimension("time", None if records else 7)
        file.createDimension("node", 3)
        for number, kind in enumerate(kinds):
            variable = file.createVariable(f"y{number}", kind, ("time", "node"))
            variable.units = "K"
            variable[:7] = np.arange(21).reshape(7, 3)
        file.createVariable("scalar", "i1", ())[...] = 1
    return path


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("records", [True, False])
@pytest.mark.parametrize("kinds", [("f4",), ("i2",), ("i2", "f8"), ("i1", "i2", "f4")])
def test_whole_files_pass_and_cut_ones_do_not(tmp_path, format, records, kinds):
    path = make_file(tmp_path / "a.nc", format, records=records, kinds=kinds)
    check_header(path)
    whole = path.read_bytes()
    for size in (4, 10, len(whole) // 3, len(whole) // 2, len(whole) - 12):
        path.write_bytes(whole[:size])
        with pytest.raises(StoreError, match=r"cut or broken|is broken"):
            check_header(path)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("number", [b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\x80\0\0\0", b"\0\0\xff\xff"])
def test_counts_larger_than_the_file_are_refused_or_without_effect(tmp_path, format, number):
    path = make_file(tmp_path / "a.nc", format)
    whole = path.read_bytes()
    refused = 0
    for place in range(4, len(whole) - 200, 4):
        path.write_bytes(whole[:place] + number + whole[place + 4 :])
        try:
            check_header(path)
        except StoreError as error:
            assert len(str(error).splitlines()) == 1
            refused += 1
    assert refused > 10


@pytest.mark.parametrize("content", [b"", b"CD", b"time,node,y\n", b"PK\x03\x04" + b"\0" * 600, b"\x89PNG\r\n" * 500])
def test_files_of_other_kinds_are_named(tmp_path, content):
    (tmp_path / "a.nc").write_bytes(content)
    with pytest.raises(StoreError, match="not a netCDF or HDF5 file"):
        check_header(tmp_path / "a.nc")


@pytest.mark.parametrize("block", [512, 1024, 4096])
def test_hdf5_behind_a_block_of_the_user_s(tmp_path, block):
    import h5py

    with h5py.File(tmp_path / "a.h5", "w", userblock_size=block) as file:
        file["x"] = np.zeros(3)
    check_header(tmp_path / "a.h5")


def test_a_number_of_records_that_was_not_counted_is_taken(tmp_path):
    path = make_file(tmp_path / "a.nc")
    whole = path.read_bytes()
    path.write_bytes(whole[:4] + b"\xff\xff\xff\xff" + whole[8:])
    check_header(path)


def test_random_bytes_in_the_header_never_hang_a_reader(tmp_path):
    path, draw = make_file(tmp_path / "a.nc"), random.Random(0)
    whole = path.read_bytes()
    for _ in range(100):
        content = bytearray(whole)
        for place in itertools.islice(iter(lambda: draw.randrange(4, 200), None), draw.randint(1, 4)):
            content[place] = draw.randrange(256)
        path.write_bytes(content)
        try:
            store.open_dataset(path)
        except StoreError as error:
            assert str(path) in str(error)
