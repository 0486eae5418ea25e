"""Operations that ONNX lacks, in terms of ones that it has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from stgate.exporting import special

aten = torch.ops.aten


def table() -> dict[Any, Callable[..., Any]]:
    """Return the functions that take the place of operations, by operation."""
    return {
        aten.cummax.default: cummax,
        aten.median.dim: median,
        aten.searchsorted.Tensor: searchsorted,
        aten.bucketize.Tensor: bucketize,
        aten.linalg_cholesky_ex.default: cholesky,
        aten.linalg_solve_triangular.default: solve_triangular,
        aten.erf.default: _wide_erf,
        aten.erfc.default: special.erfc,
        aten.special_erfc.default: special.erfc,
        aten.erfinv.default: special.erfinv,
        aten.special_erfinv.default: special.erfinv,
        aten.special_ndtr.default: special.ndtr,
        aten.special_ndtri.default: special.ndtri,
        aten.lgamma.default: special.lgamma,
    }


def _wide_erf(x: Tensor) -> Any:  # noqa: ANN401 (torch's sign that an operation stays as it is)
    return special.erf(x) if x.dtype == torch.float64 else NotImplemented  # the runtime has one in single precision


def cummax(values: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Return the largest value up to each place along a dimension, and where it last is."""
    largest = _running(values, dim)
    shape = [1] * values.dim()
    shape[dim] = -1
    place = torch.arange(values.shape[dim]).view(shape)
    return largest, _running(torch.where(values == largest, place, 0), dim)


def _running(values: Tensor, dim: int) -> Tensor:
    """Return the running maximum, in as many steps as the length has binary digits."""
    length, reach = values.shape[dim], 1
    while reach < length:
        earlier = torch.cat([values.narrow(dim, 0, reach), values.narrow(dim, 0, length - reach)], dim)
        values, reach = torch.maximum(values, earlier), 2 * reach
    return values


def median(values: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """Return the lower median along a dimension, and where it is; NaN if a value is NaN."""
    lowest, place = torch.topk(values, (values.shape[dim] + 1) // 2, dim, largest=False)
    middle = lowest.amax(dim, keepdim=True)
    unknown = torch.isnan(values).any(dim, keepdim=True)
    made = torch.where(unknown, torch.nan, middle)
    at = place.narrow(dim, place.shape[dim] - 1, 1)
    return (made, at) if keepdim else (made.squeeze(dim), at.squeeze(dim))


def searchsorted(
    edges: Tensor,
    values: Tensor,
    *,
    out_int32: bool = False,
    right: bool = False,
    **_: Any,  # noqa: ANN401
) -> Tensor:
    """Return the place of values among ascending edges, (…, edge)."""
    edges, asked = edges.unsqueeze(-2) if edges.dim() > 1 else edges, values.unsqueeze(-1)
    below = asked >= edges if right else asked > edges
    below = below | torch.isnan(asked)
    return below.sum(-1, dtype=torch.int32 if out_int32 else torch.int64)


def bucketize(values: Tensor, edges: Tensor, *, out_int32: bool = False, right: bool = False) -> Tensor:
    """Return the place of values among ascending edges, (edge,)."""
    return searchsorted(edges, values, out_int32=out_int32, right=right)


def cholesky(matrix: Tensor, *, upper: bool = False, check_errors: bool = False) -> tuple[Tensor, Tensor]:
    """Return the lower Cholesky factor of matrices, (…, row, row), column by column, and 1 where there is none."""
    place, factor = torch.arange(matrix.shape[-1]), matrix[..., :0]
    failed = torch.zeros_like(matrix[..., 0, 0], dtype=torch.bool)
    for number in range(matrix.shape[-1]):
        known = factor @ factor[..., number, :, None]  # from the columns before
        column = matrix[..., number, None] - known
        pivot = column[..., number, None, :]
        failed = failed | ~(pivot[..., 0, 0] > 0)
        column = torch.where((place >= number).unsqueeze(-1), column / pivot.sqrt(), 0.0)
        factor = torch.cat([factor, column], -1)
    return (factor.mT if upper else factor), failed.to(torch.int32)


def solve_triangular(
    factor: Tensor, given: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Any:  # noqa: ANN401 (torch's sign that an operation stays as it is)
    """Solve lower triangular systems, (…, row, row) and (…, row, column), row by row."""
    if upper or not left or unitriangular:
        return NotImplemented
    made = given[..., :0, :]
    for number in range(factor.shape[-1]):
        rest = given[..., number, None, :] - factor[..., number, None, :number] @ made
        made = torch.cat([made, rest / factor[..., number, number, None, None]], -2)
    return made
