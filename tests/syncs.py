"""What would make a host wait for a device, counted on a CPU: values read, shapes that depend on them, copies."""

from __future__ import annotations

import contextlib
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode

import stgate

WAITS = (
    *("_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "_unique2", "unique_dim", "bincount"),
    *("unique_consecutive", "repeat_interleave", "_linalg_check_errors", "histc", "argwhere", "allclose", "lift_fresh"),
)
"""Operators whose output the host reads, or whose shape depends on values, or that copy from the host."""
HOME = str(Path(stgate.__file__).parent)


class Syncs(TorchDispatchMode):
    """Counts such operators by the line of the package that calls them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def note(self, what: str) -> None:
        """Count one, at the innermost line of the package on the stack."""
        ours = [frame for frame in traceback.extract_stack() if frame.filename.startswith(HOME)]
        place = f"{Path(ours[-1].filename).relative_to(HOME)}:{ours[-1].name}" if ours else "elsewhere"
        self.found[f"{what} in {place}"] += 1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count an operator, and run it."""
        name = func.overloadpacket.__name__
        indices = args[1] if name in ("index", "index_put", "index_put_", "_index_put_impl_") else ()
        masks = any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in indices)
        scalar = name != "index" and masks and args[2].dim() == 0  # a fill
        host = name == "lift_fresh" and args[0].dim() == 0  # a number is passed with the call, not copied
        if (name in WAITS and not host) or (masks and not scalar):
            self.note(name)
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def counted() -> Iterator[Counter[str]]:
    """Count what would wait for a device within the context, by operator and line of the package."""
    mode = Syncs()
    with contextlib.ExitStack() as stack:
        for name in ("numpy", "tolist", "cpu", "__array__"):
            usual = getattr(torch.Tensor, name)

            def read(self: torch.Tensor, *given: Any, _usual: Any = usual, _name: str = name, **rest: Any) -> Any:
                mode.note(_name)
                return _usual(self, *given, **rest)

            stack.enter_context(mock.patch.object(torch.Tensor, name, read))
        stack.enter_context(mode)
        yield mode.found
