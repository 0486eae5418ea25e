"""Writers of graphs: ONNX files and programs of torch.export."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stgate.errors import RequestError
from stgate.exporting.decompositions import table
from stgate.exporting.graph import WindowGraph
from stgate.io.safe.reading import reason

OUTPUTS = ("quantiles", "mean")
"""Names of the outputs."""
APART = "__out"
"""What keeps the names of outputs apart from those of operations while a graph is made."""
Writer = Callable[[WindowGraph, tuple[Tensor, ...], Mapping[str, str], Path], None]
"""A function of a graph, inputs to trace it with, what the file says of itself as JSON by name, and the path."""


def write_onnx(graph: WindowGraph, example: tuple[Tensor, ...], notes: Mapping[str, str], path: Path) -> None:
    """Write an ONNX file.

    Args:
        graph: The graph.
        example: Inputs to trace it with.
        notes: What the file says of itself, as JSON by name.
        path: Path of the file.

    Raises:
        RequestError: An operation has no form in ONNX.
    """
    import onnx

    with _quiet(), _refused(graph, "an .onnx file"):
        program = _program(graph, example).run_decompositions(table())
        made = torch.onnx.export(
            program,
            dynamo=True,
            input_names=list(graph.inputs),
            output_names=[f"{n}{APART}" for n in OUTPUTS],
            verbose=False,
        )
        assert made is not None
        proto = made.model_proto
    _rename(proto, OUTPUTS)
    for name, value in notes.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = name, value
    _may_be_left_out(proto, graph.shape)
    onnx.save(proto, path)


def _may_be_left_out(proto: Any, shape: tuple[int, int]) -> None:  # noqa: ANN401 (onnx's)
    """Give the input `since` the value zero, which a caller may override; it then has one row for all windows."""
    import onnx

    for node in proto.graph.node:
        if node.op_type == "Shape" and node.input[0] == "since":  # the number of windows is that of another input
            node.input[0] = "past"
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros((1, *shape), "float32"), "since"))
    for given in proto.graph.input:
        if given.name == "since":
            given.type.tensor_type.shape.dim[0].dim_param = "batch_or_one"
    del proto.graph.value_info[:]  # shapes inside that name one number of windows for both


def write_program(graph: WindowGraph, example: tuple[Tensor, ...], notes: Mapping[str, str], path: Path) -> None:
    """Write a program of torch.export, with the notes as its extra files.

    Args:
        graph: The graph.
        example: Inputs to trace it with.
        notes: What the file says of itself, as JSON by name.
        path: Path of the file.

    Raises:
        RequestError: The forecaster cannot be traced.
    """
    with _quiet(), _refused(graph, "a .pt2 file"):
        torch.export.save(_program(graph, example), path, extra_files=dict(notes))


def _rename(proto: Any, names: Sequence[str]) -> None:  # noqa: ANN401 (onnx's)
    """Give the outputs of an ONNX graph their names; values inside that have such a name get another one."""
    held = {name: f"{name}__inner" for name in names} | {f"{name}{APART}": name for name in names}
    for node in proto.graph.node:
        for places in (node.input, node.output):
            places[:] = [held.get(name, name) for name in places]
    for value in (*proto.graph.output, *proto.graph.initializer):
        value.name = held.get(value.name, value.name)


def _program(graph: WindowGraph, example: tuple[Tensor, ...]) -> torch.export.ExportedProgram:
    """Trace a graph; the number of windows stays open."""
    batch = torch.export.Dim("batch", min=1)
    open_ = [None if name == "static" else {0: batch} for name in graph.inputs]
    shapes = (*open_[:3], *((tuple(open_[3:]),) if open_[3:] else ()))
    return torch.export.export(graph, example, dynamic_shapes=shapes, strict=False)


def _check_onnx() -> None:
    for name in ("onnx", "onnxscript"):
        if importlib.util.find_spec(name) is None:
            raise RequestError(f"--out .onnx: needs the package {name}; pip install 'stgate[export]', or give .pt2")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the exporter says on its way."""
    level = logging.root.manager.disable
    lost = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(lost), contextlib.redirect_stderr(lost):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(level)


@contextlib.contextmanager
def _refused(graph: WindowGraph, what: str) -> Iterator[None]:
    """Turn whatever the exporter stumbles over into one line."""
    try:
        yield
    except RequestError:
        raise
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise RequestError(f"{graph.predictor.name}: cannot be exported as {what} ({reason(cause)})") from error


WRITERS: dict[str, tuple[Writer, Callable[[], Any]]] = {
    ".onnx": (write_onnx, _check_onnx),
    ".pt2": (write_program, lambda: None),
}
"""The writer of each suffix, and what refuses it if a package is missing."""
