"""Edits of files: random bytes, and edits that leave the outer form whole and so get further into a reader."""

from __future__ import annotations

import io
import json
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

NUMBERS = (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\0\0\xff\xff", b"\x80\0\0\0", b"\x01\0\0\0")
TOKENS = (
    *("nan", "inf", "-1", "0", "1e999", "1e20", "9" * 40, "''", "null", "true", "[]", "{}", "~", "2020-13-45"),
    *(
        "24:00",
        "1.234,5",
        "&a [*a]",
        "*b",
        "!!python/name:os.system",
        "!!binary x",
        "\t",
        "\0",
        "\x1b[31m",
        "é",
        "\u202e",
    ),
    *(",", ";", ":", "-", "\n", "\r", '"', "#", "%", "|", ">", "{", "[" * 60, "x" * 300, "<<: *a", "? a"),
)
"""Texts that mean something to some reader."""
JSON: tuple[Any, ...] = (
    *(None, True, 0, -1, 1, 2, 1.5, 10**12, 2**63, 10**30, float("nan"), "", "x", "float32", "<f8", "|O", "int0"),
    *("float16", "complex64", "days since 2020-01-01", "bytes", "\0", [], {}, [[]], [0], [-1], [10**9, 10**9], ["x"]),
    *({"name": "x"}, {"a": {"b": []}}, "NaN", "0x7fc00000", [1, 1, 1], "../../x"),
)
KINDS = ("f4", "f8", "i1", "u8", "U3", "S2", "?", "c8", "M8[s]", "m8[s]")
"""Kinds of arrays."""
Edit = Callable[[Path, random.Random], None]


def edit_bytes(path: Path, draw: random.Random) -> None:
    """Change, remove, repeat, insert or cut bytes; half of the places are near the beginning."""
    content = bytearray(path.read_bytes())
    for _ in range(draw.choice((1, 1, 2, 4))):
        if not content:
            break
        first = draw.randrange(len(content) if draw.random() < 0.5 else min(len(content), 400))
        length = draw.choice((1, 2, 4, 16, 200))
        kind = draw.randrange(8)
        if kind == 0:
            content[first] = draw.randrange(256)
        elif kind == 1:
            content[first] ^= 1 << draw.randrange(8)
        elif kind == 2:
            content[first // 4 * 4 : first // 4 * 4 + 4] = draw.choice(NUMBERS)
        elif kind == 3:
            del content[first:]
        elif kind == 4:
            del content[first : first + length]
        elif kind == 5:
            content[first : first + length] = bytes(length)
        elif kind == 6:
            content[first:first] = content[first : first + length] * draw.choice((1, 3))
        else:
            other = draw.randrange(len(content))
            content[first : first + length] = content[other : other + length]
    path.write_bytes(content)


def edit_text(path: Path, draw: random.Random) -> None:
    """Replace, insert, double, swap or remove words and lines of a text."""
    lines = path.read_text(encoding="utf-8").split("\n")
    for _ in range(draw.choice((1, 1, 2, 5))):
        place = draw.randrange(len(lines) if draw.random() < 0.7 else min(len(lines), 3))
        kind = draw.randrange(6)
        if kind < 3:
            mark = draw.choice((",", " ", ": ", "-"))
            words = lines[place].split(mark)
            word = draw.randrange(len(words))
            words[word] = draw.choice(TOKENS) if kind else words[word] + draw.choice(TOKENS)
            lines[place] = mark.join(words)
        elif kind == 3:
            lines.insert(place, lines[draw.randrange(len(lines))])
        elif kind == 4:
            lines[place] = draw.choice(("  ", "\t", "- ", "")) + lines[place].strip()
        elif len(lines) > 1:
            del lines[place]
    path.write_bytes("\n".join(lines).encode("utf-8", "replace"))


def edit_tree(value: Any, draw: random.Random) -> Any:
    """Return a tree of lists and mappings with one edit somewhere."""
    if isinstance(value, dict) and value and draw.random() < 0.8:
        key, result = draw.choice(list(value)), dict(value)
        kind = draw.randrange(6)
        if kind == 0:
            del result[key]
        elif kind == 1:
            result[draw.choice(("x", "", "shape", "dims", "units", key + "_"))] = draw.choice(JSON)
        else:
            result[key] = edit_tree(value[key], draw)
        return result
    if isinstance(value, list) and value and draw.random() < 0.7:
        place = draw.randrange(len(value))
        if draw.random() < 0.2:
            return value + value if draw.random() < 0.5 else value[:place]
        return [*value[:place], edit_tree(value[place], draw), *value[place + 1 :]]
    if isinstance(value, int | float) and not isinstance(value, bool) and draw.random() < 0.5:
        return draw.choice((-value, value + 1, value * 10**6, value / 2, str(value)))
    return draw.choice(JSON)


def edit_json(path: Path, draw: random.Random) -> None:
    """Edit a tree in JSON."""
    tree = json.loads(path.read_text(encoding="utf-8"))
    for _ in range(draw.choice((1, 1, 2))):
        tree = edit_tree(tree, draw)
    path.write_text(json.dumps(tree), encoding="utf-8")


def edit_store(path: Path, draw: random.Random) -> None:
    """Edit a file of a zarr store: mostly its descriptions, also its chunks; or remove it."""
    files = sorted(file for file in path.rglob("*") if file.is_file())
    described = [file for file in files if file.suffix == ".json"]
    kind = draw.random()
    if kind < 0.6:
        edit_json(draw.choice(described), draw)
    elif kind < 0.75:
        edit_bytes(draw.choice(described), draw)
    elif kind < 0.93:
        edit_bytes(draw.choice(files), draw)
    else:
        draw.choice(files).unlink()


def edit_members(path: Path, draw: random.Random) -> None:
    """Edit, cut, remove or double a member of a zip archive, whose checksums stay right."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = draw.choice(list(members))
    kind = draw.random()
    if kind < 0.8:
        inner = path.with_name("member")
        inner.write_bytes(members[name])
        edit_bytes(inner, draw)
        members[name] = inner.read_bytes()
    elif kind < 0.9:
        del members[name]
    else:
        members[draw.choice(list(members))] = members[name]
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)


def edit_arrays(path: Path, draw: random.Random) -> None:
    """Replace an array of an .npz by one of another kind, shape or value."""
    with np.load(path) as file:
        arrays = dict(file)
    for _ in range(draw.choice((1, 1, 2))):
        name = draw.choice(list(arrays))
        value = arrays[name]
        edits: tuple[Callable[[], Any], ...] = (
            lambda value=value: value.astype("U9").astype(draw.choice(("U3", "S2"))),
            lambda value=value: np.zeros(value.shape, draw.choice(KINDS)),
            lambda value=value: value.reshape(-1)[: draw.choice((0, 1, 2))],
            lambda value=value: value[..., None],
            lambda: np.array(draw.choice((-1, 0, 1, 10**9, -(10**9), 1e300, 2**31))),
            lambda: np.array(draw.choice((np.nan, np.inf, -np.inf))),
            lambda value=value: np.full(value.shape, draw.choice((np.nan, np.inf, -1.0, 1e30))),
            lambda value=value: np.concatenate([np.atleast_1d(value)] * 3),
        )
        arrays[name] = draw.choice(edits)()
    if draw.random() < 0.1:
        del arrays[draw.choice(list(arrays))]
    np.savez(path, **arrays)


def edit_npy_header(path: Path, draw: random.Random) -> None:
    """Say something else of an array's kind or shape than its bytes hold."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = draw.choice(list(members))
    file = io.BytesIO(members[name])
    version = np.lib.format.read_magic(file)
    shape, order, kind = np.lib.format.read_array_header_1_0(file)
    rest = file.read()
    shape = draw.choice(((10**12,), (-1,), (*shape, 10**6), (2**31, 2**31), shape[:-1], shape * 3, (True,)))
    kind = draw.choice((kind.str, "|O", "<f8", "<U100000", "|V8", "<M8[ns]", [("a", "<f8")]))
    made = io.BytesIO()
    made.write(np.lib.format.magic(*version))
    text = repr({"descr": kind, "fortran_order": order, "shape": shape}).ljust(117) + "\n"
    made.write(len(text).to_bytes(2, "little") + text.encode())
    members[name] = made.getvalue() + rest
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)


def edit_structure(path: Path, draw: random.Random) -> None:
    """Edit the groups, data sets and attributes of an HDF5 file, as no library that writes netCDF would."""
    import h5py

    values = (
        *(np.int32(5), np.array([], "f4"), "text", np.zeros(3), np.int64(-1), np.array([b"ab"]), h5py.Empty("f4")),
        *(np.float32(1e30), np.zeros((2, 2)), "days since 2020-01-01", np.bool_(True), np.array(["a", "b"], "S1")),
    )
    with h5py.File(path, "r+") as file:
        for _ in range(draw.choice((1, 1, 2))):
            sets: list[Any] = []
            file.visititems(lambda _, item, sets=sets: sets.append(item))
            if not sets:
                return
            item = draw.choice(sets)
            kind = draw.randrange(9)
            if kind < 4:
                names = [*item.attrs, "units", "calendar", "scale_factor", "coordinates", "kind", "value_type"]
                name = draw.choice(names)
                if name in item.attrs:
                    del item.attrs[name]
                if kind:
                    item.attrs[name] = draw.choice(values)
            elif kind == 4:
                item.attrs["_Netcdf4Dimid"] = np.int32(draw.choice((-1, 99, 2**31 - 1)))
            elif kind == 5:
                item.attrs[draw.choice(("_FillValue", "missing_value", "add_offset"))] = draw.choice(values)
            elif kind == 6:
                del file[item.name]
            elif kind == 7:
                odd = np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")])
                path_of = draw.choice(("q", item.name, f"{item.parent.name}/z"))
                if path_of in file:
                    del file[path_of]
                file[path_of] = draw.choice(
                    (np.zeros((3, 3)), odd, np.zeros(0), "text", np.arange(5), h5py.Empty("f4"))
                )
            else:
                name = draw.choice(("again", f"{item.parent.name}/again"))
                if name not in file:
                    file[name] = draw.choice((item, h5py.SoftLink("/nowhere"), h5py.ExternalLink("no.h5", "/x")))


def compressed(edit: Edit) -> Edit:
    """Return an edit of what is within a gzip file."""

    def inside(path: Path, draw: random.Random) -> None:
        import gzip

        inner = path.with_name("inner")
        inner.write_bytes(gzip.decompress(path.read_bytes()))
        edit(inner, draw)
        path.write_bytes(gzip.compress(inner.read_bytes(), 1))

    return inside


def copy(source: Path, target: Path) -> None:
    """Copy a file or a folder to a place, whatever was there."""
    if target.is_dir():
        shutil.rmtree(target)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)
