"""Places where a result cannot be, and streams that are closed or full: one line, or none, and never a traceback."""

import os
import subprocess
import sys

import pytest
from helpers import environment, make_panel, one_line

import stgate

SIMULATE = ("simulate", "lorenz96", "--nodes", 8, "--duration", 1, "--out")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stgate.write(make_panel(steps=40), "panel.nc")
    return tmp_path


@pytest.mark.parametrize(
    "name", ["\udcff.nc", "a\0b.nc", "\udcc3\udca9.zarr", "x" * 250 + ".zarr", "x" * 300 + ".zarr"]
)
@pytest.mark.parametrize("command", [("mask", "panel.nc", "--variable", "y", "--rate", 0.1, "--out"), SIMULATE])
def test_a_name_that_no_library_can_write_is_refused(folder, stgate_command, command, name):
    code, out, err = stgate_command(*command, name)
    assert code == 2 and not out and len(err.splitlines()) == 1
    assert "not text in UTF-8" in err or "longer than" in err
    assert os.listdir(folder) == ["panel.nc"]


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="is about a file system that holds no files")
@pytest.mark.parametrize("name", ["/proc/x.nc", "/proc/sys/x.nc"])
def test_a_place_that_takes_no_files_is_refused(folder, stgate_command, name):
    code, _, err = stgate_command("mask", "panel.nc", "--variable", "y", "--rate", 0.1, "--out", name)
    assert code == 2 and len(err.splitlines()) == 1 and ".tmp" not in err


@pytest.mark.parametrize("made", ["file", "link"])
@pytest.mark.parametrize("command", [("mask", "panel.nc", "--variable", "y", "--rate", 0.1, "--out"), SIMULATE])
def test_a_store_does_not_replace_a_file(folder, stgate_command, command, made):
    (folder / "held").write_text("precious")
    (folder / "o.zarr").symlink_to("held") if made == "link" else (folder / "held").rename(folder / "o.zarr")
    one_line(stgate_command(*command, "o.zarr", "--overwrite"), "o.zarr: a file has this name", "another name")
    assert (folder / "o.zarr").read_text() == "precious"
    with pytest.raises(stgate.errors.StoreError, match="a file has this name"):
        stgate.write(make_panel(steps=3), "o.zarr", overwrite=True)
    assert (folder / "o.zarr").read_text() == "precious"


@pytest.mark.parametrize("target", ["nowhere", "no/such/deep", "o.zarr"])
@pytest.mark.parametrize("more", [(), ("--overwrite",)])
@pytest.mark.parametrize("command", [("mask", "panel.nc", "--variable", "y", "--rate", 0.1, "--out"), SIMULATE])
def test_nor_a_link_to_nowhere(folder, stgate_command, command, more, target):
    (folder / "o.zarr").symlink_to(target)
    one_line(stgate_command(*command, "o.zarr", *more), "o.zarr: a file has this name")
    assert (folder / "o.zarr").is_symlink() and len(os.listdir(folder)) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="shells differ")
@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ("--version >&-", 0, ""),
        ("--help >&- 2>&-", 0, ""),
        ("data check panel.nc >&-", 0, ""),
        ("nope >&-", 2, "stgate: no command 'nope'"),
        ("--help >/dev/full", 1, "stgate: failed: OSError"),
        ("--version >/dev/full", 1, "stgate: failed: OSError"),
        ("data check panel.nc >/dev/full", 1, "stgate: failed: OSError"),
    ],
)
def test_streams_that_are_closed_or_full(folder, words, code, says):
    """A result that is written counts, whoever hears of it."""
    if "/dev/full" in words and not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    command = f"exec {sys.executable} -u -m stgate {words}"
    done = subprocess.run(command, shell=True, env=environment(), stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == code and done.stderr.startswith(says) and len(done.stderr.splitlines()) == bool(says)


def test_a_name_that_the_terminal_cannot_show_is_printed_in_ascii(folder):
    named = {**environment(), "PYTHONIOENCODING": "ascii:strict"}
    words = [sys.executable, "-m", "stgate", "mask", "panel.nc", "--variable", "y", "--rate", "0.1", "--out", "é.nc"]
    done = subprocess.run(words, env=named, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "\\xe9.nc" in done.stdout + done.stderr
    assert (folder / "é.nc").is_file()


def test_a_working_folder_that_is_gone_is_said(folder):
    command = f"mkdir q; cd q; rmdir ../q; exec {sys.executable} -m stgate data check ../panel.nc"
    done = subprocess.run(command, shell=True, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr == "stgate: the working folder is gone; change to one that exists\n"
