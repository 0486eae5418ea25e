"""Plain content of checkpoints, read without torch: what a command can refuse before it loads one.

The file's pickle is interpreted, not loaded: only numbers, texts and containers are made, a tensor becomes None, and no
name in it is looked up, so that no code of the file runs. What the interpreter does not know makes it give up; torch,
with `weights_only=True`, then decides.
"""

from __future__ import annotations

import os
import pickletools
import sys
import zipfile
from _compat_pickle import IMPORT_MAPPING
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stgate.errors import RENAMED, CheckpointError, StoreError
from stgate.io.safe.reading import exists

KEY = "stgate"
"""Our entry in a Lightning checkpoint: format, class, version, and the entries of `Predictor.to_plain`."""
ENTRIES = {"class", "spec", "calibration", "seed", "seen"}
"""Entries of it in every format."""
OPTIONS = {name: RENAMED[name] for name in ("fill", "hide")}
"""Names of forecasters' options in format 1, and today's names."""
PART_OPTIONS = {"inference": {name: RENAMED[name] for name in ("initial_spread",)}}
"""Names of the options of parts in format 1, and today's names, by the forecaster's option that holds the part."""
ROLES = ("targets", "past_covariates", "future_covariates", "static_covariates", "places")
"""Entries of a spec that are lists of names."""
MOST = 2**22
"""Most bytes of a pickle that is interpreted: dozens of parameters take thousands."""
KNOWN = ("torch", "collections", "_codecs", "builtins", "numpy", "copyreg", "lightning", "torch_geometric")
"""Packages of which torch may take a name in a checkpoint; of other modules of Python it takes none."""


def look(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Read a checkpoint's plain content, tensors left out, and refuse a file that is none of a forecaster.

    Args:
        path: The file.

    Returns:
        The content, in the format that the file has; None where only torch can tell.

    Raises:
        StoreError: There is no such file.
        CheckpointError: The file is not a checkpoint of stgate, or holds a pickled object.
    """
    path = Path(path)
    if not exists(path):
        raise StoreError(f"{path}: no such checkpoint")
    pickle = _pickle(path)
    if pickle is None or len(pickle) > MOST:
        return None
    try:
        content = _interpreted(pickle)
    except _ObjectError as error:
        raise refusal(path) from error
    except Exception:  # whatever odd bytes lead to
        return None
    check_sections(content, path)
    return content if isinstance(content, dict) else None


def refusal(path: Path) -> CheckpointError:
    """Return the error on a file whose pickle is not one of plain values and tensors.

    Args:
        path: The file.
    """
    return CheckpointError(f"{path}: refused, it holds a pickled object or is not a checkpoint; fit the model again")


def check_sections(checkpoint: object, path: Path) -> None:
    """Refuse a checkpoint that lacks what each one of a forecaster has.

    Args:
        checkpoint: What the file holds.
        path: The file.

    Raises:
        CheckpointError: It is not a checkpoint of a forecaster of stgate.
    """
    ours = checkpoint.get(KEY) if isinstance(checkpoint, dict) else None
    whole = isinstance(ours, dict) and ours.keys() >= ENTRIES
    if not (isinstance(checkpoint, dict) and whole and {"state_dict", "hyper_parameters"} <= checkpoint.keys()):
        raise CheckpointError(f"{path}: a checkpoint, but not one of an stgate forecaster")


def spec_of(content: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the spec in a checkpoint's content, without the entries that are of other kinds than in a spec.

    Args:
        content: The content; None has no spec.
    """
    spec = content[KEY]["spec"] if content is not None else {}
    lists = [spec.get(name, []) for name in ROLES] if isinstance(spec, dict) else [None]
    whole = all(isinstance(held, list) and all(isinstance(one, str) for one in held) for held in lists)
    return spec if whole else {}


def channels_of(spec: Mapping[str, Any]) -> list[str]:
    """Return the variables over time of a spec.

    Args:
        spec: Entries of the spec.
    """
    return [name for role in ROLES[:3] for name in spec.get(role, [])]


def _pickle(path: Path) -> bytes | None:
    """Return the pickle in a checkpoint; None where it has another layout than torch writes today.

    Raises:
        CheckpointError: The file is neither an archive nor a pickle.
    """
    try:
        with path.open("rb") as file:
            first = file.read(4)
            if first[:1] == b"\x80" or first == b"PK\x03\x04":
                pass
            elif b"ustar" not in file.read(512):  # the first format of torch is a tar
                raise refusal(path)
        if first != b"PK\x03\x04":
            return None
        with zipfile.ZipFile(path) as archive:
            held = [member for member in archive.infolist() if member.filename.endswith("/data.pkl")]
            return archive.read(held[0]) if len(held) == 1 and held[0].file_size <= MOST else None
    except IsADirectoryError as error:
        raise CheckpointError(f"{path}: a folder, not a checkpoint; give the file in it, such as best.ckpt") from error
    except zipfile.BadZipFile as error:
        raise CheckpointError(
            f"{path}: not a readable checkpoint (it is cut or broken); get it or fit it again"
        ) from error
    except (OSError, NotImplementedError, RuntimeError, EOFError):  # torch says what it is
        return None


class _ObjectError(Exception):
    """Raised on the name of something that torch does not take from a checkpoint."""


class _Function:
    """Stand-in for a name in a pickle."""

    def __init__(self, name: str) -> None:
        self.name = name


def _interpreted(pickle: bytes) -> Any:  # noqa: ANN401 (what a pickle holds)
    """Return the plain values of a pickle; tensors and other results of calls are None.

    Raises:
        _ObjectError: It names something of another module of Python.
        KeyError: It holds something that is not known here.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[Any, Any] = {}

    def since_mark() -> list[Any]:
        start = marks.pop()
        taken = stack[start:]
        del stack[start:]
        return taken

    for opcode, argument, _ in pickletools.genops(pickle):
        name = opcode.name
        if name in VALUES:
            stack.append(argument)
        elif name in CONSTANTS:
            stack.append(CONSTANTS[name])
        elif name in EMPTY:
            stack.append(EMPTY[name]())
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name == "MARK":
            marks.append(len(stack))
        elif name in ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"):
            taken = since_mark() if name == "TUPLE" else [stack.pop() for _ in range(int(name[5]))][::-1]
            stack.append(tuple(taken))
        elif name in ("APPEND", "APPENDS"):
            taken = since_mark() if name == "APPENDS" else [stack.pop()]
            stack[-1] += taken
        elif name in ("SETITEM", "SETITEMS"):
            taken = since_mark() if name == "SETITEMS" else [stack.pop() for _ in range(2)][::-1]
            stack[-1].update(zip(taken[::2], taken[1::2], strict=True))
        elif name == "GLOBAL":
            stack.append(_named(str(argument)))
        elif name == "BINPERSID":  # the place of a tensor's values
            stack[-1] = None
        elif name == "REDUCE":
            stack.pop()
            stack[-1] = {} if stack[-1].name == "collections OrderedDict" else None
        elif name == "BUILD":  # attributes of an ordered dictionary
            stack.pop()
        elif name == "STOP":
            return stack.pop()
        elif name != "PROTO":
            raise KeyError(name)
    raise KeyError("no end")


VALUES = ("BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE", "SHORT_BINUNICODE", "BINFLOAT")
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
EMPTY: dict[str, type[Any]] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}


def _named(name: str) -> _Function:
    """Return a stand-in for a name in a pickle.

    Raises:
        _ObjectError: It is of a module of Python from which torch takes nothing.
        KeyError: It is of another package, of which a user may have told torch that it is safe.
    """
    module = name.partition(" ")[0]
    package = IMPORT_MAPPING.get(module, module).partition(".")[0]  # pickles have the names of Python 2
    if package in sys.stdlib_module_names and package not in KNOWN:
        raise _ObjectError(name)
    if package not in KNOWN:
        raise KeyError(name)
    return _Function(name)
