"""Kernels compiled by numba once and kept on disk; importing this module needs the extra `fast`."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"
# ruff: noqa: ANN001, ANN201, ANN202

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def _slope_store(s0, s1, s2, s3, forcing, scale, x, slope, stage):
    for i in range(x.size):
        k = (s3[i] - s0[i]) * s1[i] - s2[i] + forcing[i]
        slope[i] = k
        stage[i] = k * scale + x[i]


@njit(cache=True, nogil=True)
def _slope_add(s0, s1, s2, s3, forcing, scale, x, slope, stage):
    for i in range(x.size):
        k = (s3[i] - s0[i]) * s1[i] - s2[i] + forcing[i]
        slope[i] += k
        stage[i] = k * scale + x[i]


@njit(cache=True, nogil=True)
def _finish(s0, s1, s2, s3, forcing, sixth, x, k1, k23, stage):
    for i in range(x.size):
        k = (s3[i] - s0[i]) * s1[i] - s2[i] + forcing[i]
        new = (k23[i] * 2.0 + k1[i] + k) * sixth + x[i]
        x[i] = new
        stage[i] = new


@njit(cache=True, nogil=True)
def _halo(stage, size, width):
    for j in range(2 * width):
        stage[j] = stage[j + size]
    for j in range(width):
        stage[j + size + 2 * width] = stage[j + 2 * width]


@njit(cache=True, nogil=True)
def _tile(x, forcing, h, steps, width, s, t, k1, k23):
    """Step a flat tile (site x width) in place; on entry and exit s holds x inside its halo."""
    size = x.size
    a, b, c = width, 2 * width, 3 * width
    s0, s1, s2, s3 = s[:size], s[a : a + size], s[b : b + size], s[c:]
    t0, t1, t2, t3 = t[:size], t[a : a + size], t[b : b + size], t[c:]
    for _ in range(steps):
        _halo(s, size, width)
        _slope_store(s0, s1, s2, s3, forcing, h / 2, x, k1, t2)
        _halo(t, size, width)
        _slope_store(t0, t1, t2, t3, forcing, h / 2, x, k23, s2)
        _halo(s, size, width)
        _slope_add(s0, s1, s2, s3, forcing, h, x, k23, t2)
        _halo(t, size, width)
        _finish(t0, t1, t2, t3, forcing, h / 6, x, k1, k23, s2)


@njit(cache=True, nogil=True)
def lorenz96(block, forcing, h, steps, every, out, lanes):
    """Advance `block` (site, member) by `steps`, then fill `out` (time, member, site), `every` steps before each."""
    nodes, members = block.shape
    for first in range(0, members, lanes):
        width = min(lanes, members - first)
        size = nodes * width
        x, feed = np.empty(size), np.empty(size)
        s, t = np.empty(size + 3 * width), np.empty(size + 3 * width)
        k1, k23 = np.empty(size), np.empty(size)
        for n in range(nodes):
            for w in range(width):
                x[n * width + w] = block[n, first + w]
                feed[n * width + w] = forcing[n]
        s[2 * width : 2 * width + size] = x
        _tile(x, feed, h, steps, width, s, t, k1, k23)
        for row in range(out.shape[0]):
            _tile(x, feed, h, every, width, s, t, k1, k23)
            for w in range(width):
                for n in range(nodes):
                    out[row, first + w, n] = x[n * width + w]
        for n in range(nodes):
            for w in range(width):
                block[n, first + w] = x[n * width + w]
