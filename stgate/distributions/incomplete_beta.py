"""Levels and quantiles by the incomplete beta function, in float64 on the device, by a fixed number of operations.

torch has no incomplete beta function I_x(a, b). Here it is that of a larger `a`, plus the terms of a recurrence, which
are all positive; the rest is an integral of a function whose logarithm is concave and nearly quadratic, by Gauss's
rule.
Relative errors are about 1e-12. Nothing carries gradients.

References:
    DLMF 8.17 (recurrences). Loader (2000), Fast and accurate computation of binomial probabilities (deviances).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

RAISED = 16
"""Number of steps by which `a` is raised; also the number of counts whose probabilities are added up one by one."""
DROP = 30.0
"""Fall of the logarithm of the integrand at which the integral ends."""
NODES = 20
"""Number of nodes of Gauss's rule."""
PIECE = 2**13
"""Number of values that are computed together: the nodes' intermediate results stay in the processor's cache."""
FALL, STRIPS = 28.0, 64
"""Fall of the logarithm of the integrand of `mean_difference` over its nodes, and the number of strips between them."""
STEPS = 7
"""Number of Newton's steps to a quantile: six suffice from the starts below, whatever parameters and level."""
LEAST_LEVEL, LARGEST_LEVEL = 1e-300, 1 - 2**-53
"""Bounds of levels whose normal scores are taken."""
CORNERS = 48
"""Number of degrees of freedom at which the quantile of a level of Student t is computed."""
EULER = 0.5772156649015329


def gauss(nodes: int) -> tuple[list[float], list[float]]:
    """Return the nodes and weights of Gauss's rule between 0 and 1."""
    points, shares = np.polynomial.legendre.leggauss(nodes)
    return ((points + 1) / 2).tolist(), (shares / 2).tolist()


_NODES = torch.tensor(gauss(NODES), dtype=torch.float64).unsqueeze(-1)
_corners = np.pi * (np.arange(CORNERS) + 0.5) / CORNERS
_CORNERS = torch.from_numpy(np.cos(_corners)).unsqueeze(-1)
_TO_POLYNOMIAL = torch.from_numpy(np.cos(np.outer(np.arange(CORNERS), _corners)) * (2 / CORNERS))
_TO_POLYNOMIAL[0] /= 2
_RAISES = torch.arange(RAISED, dtype=torch.float64).unsqueeze(-1)


def negative_binomial_levels(value: Tensor, mean: Tensor, dispersion: Tensor) -> tuple[Tensor, Tensor]:
    """Return P(X ≤ value) and P(X = ⌊value⌋) of negative binomial counts with variance mean + dispersion mean².

    Args:
        value: Values; both probabilities are zero below 0.
        mean: Means, above zero.
        dispersion: Dispersions, above zero.

    Returns:
        Probabilities, float64, of the broadcast shape.
    """
    level, chance = _in_pieces(_count_levels, value, mean, dispersion)
    return level, chance


def negative_binomial_between(count: Tensor, mean: Tensor, dispersion: Tensor) -> Tensor:
    """Return P(X ≤ count) of real numbers of `RAISED` and more: a smooth function, equal to it at whole ones.

    Args:
        count: Numbers.
        mean: Means, above zero.
        dispersion: Dispersions, above zero.

    Returns:
        Probabilities, float64, of the broadcast shape.
    """
    return _in_pieces(lambda count, mean, dispersion: _many(count, 1 / dispersion, mean)[0], count, mean, dispersion)


def negative_binomial_first(mean: Tensor, dispersion: Tensor) -> Tensor:
    """Return P(X ≤ j) of the first `RAISED` counts j, (j, …), float64.

    Args:
        mean: Means, above zero.
        dispersion: Dispersions, above zero.
    """
    return _in_pieces(lambda mean, dispersion: _few(1 / dispersion, mean)[0], mean, dispersion)


def negative_binomial_quantile(level: Tensor, mean: Tensor, dispersion: Tensor) -> Tensor:
    """Return the smallest counts whose cumulative probability reaches a level.

    Args:
        level: Levels; at 1 and above the level just below it.
        mean: Means, above zero.
        dispersion: Dispersions, above zero.

    Returns:
        Counts, float64, of the broadcast shape.
    """
    return _in_pieces(_count_quantile, level, mean, dispersion)


def mean_difference(mean: Tensor, dispersion: Tensor) -> Tensor:
    """Return E|X - X'| of two independent negative binomial counts.

    It is 8 v / (π √(1 + 4v dispersion)) ∫ (1 - k sin²γ)^(1/dispersion - 1) cos²γ dγ over 0 to π/2, with the variance v
    and k = 4v dispersion / (1 + 4v dispersion); the integral is taken over u, sin γ = tanh u, by the trapezoidal rule.

    Args:
        mean: Means, above zero.
        dispersion: Dispersions, above zero.

    Returns:
        Differences, float64, of the broadcast shape.
    """
    return _in_pieces(_mean_difference, mean, dispersion)


def student_cdf(value: Tensor, df: Tensor) -> Tensor:
    """Return P(T ≤ value) of Student t values.

    Args:
        value: Values.
        df: Degrees of freedom, above zero.

    Returns:
        Probabilities, float64, of the broadcast shape.
    """

    def level(value: Tensor, df: Tensor) -> Tensor:
        tail = _student_tail(torch.asinh(value.abs() / df.sqrt()), df)[0]
        return torch.where(value < 0, tail, 1 - tail)

    return _in_pieces(level, value, df)


def student_quantile(level: Tensor, df: Tensor) -> Tensor:
    """Return the quantiles of Student t values.

    Args:
        level: Levels.
        df: Degrees of freedom, above zero.

    Returns:
        Quantiles, float64, of the broadcast shape.
    """
    return _in_pieces(_student_quantile, level, df)


def student_quantiles(levels: Tensor, df: Tensor) -> Tensor:
    """Return the quantiles of a few levels of many Student t values.

    Those of one level are a smooth function of the degrees of freedom: it is computed at a few of them, and a
    polynomial through these gives the others to about 1e-8.

    Args:
        levels: Levels, (level,).
        df: Degrees of freedom, above zero, (…).

    Returns:
        Quantiles, (level, …), float64.
    """
    table = _in_pieces(_scaled_far, levels.to(df.device), (1 + _CORNERS.to(df.device, non_blocking=True)) / 2)
    factors = (_TO_POLYNOMIAL.to(df.device, non_blocking=True) @ table).unsqueeze(-1).unbind()

    def quantiles(df: Tensor) -> Tensor:
        share = df / (1 + df)
        x, twice, one, two = 2 * share - 1, 4 * share - 2, torch.zeros_like(share), torch.zeros_like(share)
        for factor in reversed(factors[1:]):  # Clenshaw's sum of Chebyshev polynomials
            one, two = torch.addcmul(factor - two, twice, one), one
        return torch.sinh((x * one - two + factors[0]) / (df * share).sqrt()) * df.sqrt()

    return _in_pieces(quantiles, df)


@torch.no_grad()
def _in_pieces(function: Callable[..., Tensor], *given: Tensor) -> Tensor:
    """Apply a function of flat float64 tensors to pieces of broadcast ones."""
    wide = torch.broadcast_tensors(*(x.double() for x in given))  # type: ignore[no-untyped-call]
    shape, flat = wide[0].shape, [x.reshape(-1) for x in wide]
    pieces = [flat] if torch.compiler.is_compiling() else zip(*(x.split(PIECE) for x in flat), strict=True)
    made = [function(*piece) for piece in pieces]
    return torch.cat(made, -1).view((*made[0].shape[:-1], *shape))


# Counts


def _count_levels(value: Tensor, mean: Tensor, dispersion: Tensor) -> Tensor:
    size, count = 1 / dispersion, value.floor()
    levels, chances = _few(size, mean)
    own = (count == _RAISES.to(count.device, non_blocking=True)).double()
    few = torch.stack([(own * levels).sum(0), (own * chances).sum(0)])
    many = torch.stack(_many(count.clamp(min=RAISED), size, mean))
    return torch.where(count < RAISED, few, many) + 0 * mean


def _few(size: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Return P(X ≤ j) and P(X = j) of the first counts j, (j, …)."""
    other = mean / (size + mean)
    chances = [torch.exp(-size * torch.log1p(mean / size))]
    levels = chances[:]
    for j in range(1, RAISED):
        chances.append(chances[-1] * ((size + (j - 1)) * other / j))
        levels.append(levels[-1] + chances[-1])
    return torch.stack(levels), torch.stack(chances)


def _many(count: Tensor, size: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Return P(X ≤ count) and P(X = count) of counts of `RAISED` and more, real ones too: I_x(size, count + 1).

    Args:
        count: Counts.
        size: Inverse of the dispersion.
        mean: Means.
    """
    x, y = size / (size + mean), mean / (size + mean)
    a, b = size + RAISED, count + 1
    total = a + b
    apart = (size * b - mean * a) / (size + mean)  # total * x - a
    deviance = a * _log_of_one_plus(apart / a, x * total / a) + b * _log_of_one_plus(-apart / b, y * total / b)
    scale = (a * b / (2 * math.pi * total)).sqrt()
    height = deviance + _stirling(total) - _stirling(a) - _stirling(b)  # of x^a y^b / B(a, b) / scale, its logarithm
    i = _RAISES.to(count.device, non_blocking=True)
    ratio = (i + (size + b)).div_(i + (size + 1))
    first = torch.exp(height + torch.log(scale / a) - ratio.log().sum(0) - RAISED * torch.log(x))
    terms = _nested(ratio.mul_(x))
    sign = torch.where(apart < 0, -1.0, 1.0).double()  # the integral goes to the side away from the mode
    slope, bend = apart.abs(), total * x * y
    length = 2 * DROP / (slope + (slope.square() + 2 * bend * DROP).sqrt())
    xt, steep = x * total, a * sign
    for _ in range(2):
        grown = torch.exp(sign * length).mul_(x)
        fall = total * torch.log1p(grown - x) - steep * length
        length = length - (fall - DROP) / (sign * total * grown / (1 + (grown - x)) - steep)
    points, shares = _NODES.to(count.device, non_blocking=True)
    d = points * (sign * length)
    fall = torch.exp(d).sub_(1).mul_(x).log1p_().mul_(total)
    integral = d.mul_(a).sub_(fall).exp_().mul_(shares).sum(0)
    tail = scale * torch.exp(height) * length * integral
    return first * terms + torch.where(apart < 0, tail, 1 - tail), first * size / ((count + size) * y) + 0 * xt


def _count_quantile(level: Tensor, mean: Tensor, dispersion: Tensor) -> Tensor:
    size = 1 / dispersion
    level = level.clamp(max=1 - 1e-12)  # a level of 1 has no count
    few = (_few(size, mean)[0] < level).sum(0).double()
    score = torch.special.ndtri(level.clamp(min=LEAST_LEVEL))
    root = _start(level, score, mean, dispersion, size).pow(1 / 3)
    low, high = torch.full_like(root, (RAISED - 0.5) ** (1 / 3)), torch.full_like(root, torch.inf)
    for _ in range(STEPS):  # in the cube root of the count, of which the normal score is nearly a linear function
        count = root.pow(3)
        reached, chance = _many(count, size, mean)
        chance = chance * ((count + size) / (count + 1) * mean / (size + mean)).sqrt()  # density half a count further
        now = torch.special.ndtri(reached.clamp(LEAST_LEVEL, LARGEST_LEVEL))
        low, high = torch.where(reached < level, root, low), torch.where(reached < level, high, root)
        steep = chance * torch.exp(0.5 * now.square()) * math.sqrt(2 * math.pi) * 3 * root.square()
        step = torch.nan_to_num((now - score) / steep, nan=0.0)
        new = torch.minimum(torch.maximum(root - step, 0.3 * root), 3 * root)
        inside = (new >= low) & (new <= high)
        root = torch.where(inside, new, torch.where(high.isinf(), 3 * root, (low * high).sqrt()))
    count = root.pow(3).ceil().clamp(min=RAISED)
    reached, chance = _many(count, size, mean)
    after = chance * (count + size) / (count + 1) * mean / (size + mean)
    up = (reached < level).double() + (reached + after < level).double()
    count = count + up - (reached - chance >= level).double()
    return torch.where(few < RAISED, few, count.clamp(min=RAISED)) + 0 * mean


def _start(level: Tensor, score: Tensor, mean: Tensor, dispersion: Tensor, size: Tensor) -> Tensor:
    """Return about the quantile of counts, from the gamma distribution of the same mean, variance and skewness."""
    spread = (mean * (1 + mean * dispersion)).sqrt()
    skew = (1 + 2 * mean * dispersion) / spread
    shape = 4 / skew.square()
    cubed = shape * (1 + skew * score / 6 - skew.square() / 36).clamp(min=0).pow(3)  # Wilson and Hilferty
    head = torch.exp(((level.log() + torch.lgamma(shape + 1)) / shape).clamp(max=5))
    rest = (1 - level) / shape  # that of a gamma distribution of shape 0: the exponential integral
    far = -torch.log(rest)
    near = torch.exp(-rest - EULER)
    tiny = torch.where(near < 0.5, near, (far - torch.log(far.clamp(min=0.5))).clamp(min=0.4))
    gamma = torch.where(shape < 0.3, tiny, torch.where((shape < 1) & (head < 0.3), head, cubed))
    return (spread * skew / 2 * gamma + mean - 2 * spread / skew - 0.5).clamp(min=RAISED - 0.5)


def _mean_difference(mean: Tensor, dispersion: Tensor) -> Tensor:
    wide = 4 * mean * dispersion * (1 + mean * dispersion)
    power = 1 / dispersion - 1
    bend = 3 + 2 * power * torch.where(power > 0, wide / (1 + wide), 1.0)
    end = FALL / bend
    step = (end + torch.log1p((-torch.expm1(-2 * end)).sqrt())) / STRIPS  # of u: cosh u is exp(end) at the last one
    grown = torch.exp(torch.arange(STRIPS + 1, device=mean.device, dtype=mean.dtype).unsqueeze(-1) * step)
    sech = 2 / (grown + 1 / grown)
    height = torch.exp(power * torch.log((1 + wide * sech.square()) / (1 + wide))) * sech.pow(3)
    left = height[-1] / height[-2]  # beyond the last one heights fall off exponentially
    total = height.sum(0) - height[0] / 2 + height[-1] * left / (1 - left)
    return 2 * wide / (math.pi * dispersion * (1 + wide).sqrt()) * total * step


# Student t


def _student_tail(far: Tensor, df: Tensor) -> tuple[Tensor, Tensor]:
    """Return P(T > sqrt(df) sinh(far)) and its density by `far`, of far ≥ 0.

    Args:
        far: Distances.
        df: Degrees of freedom.
    """
    half = df / 2
    a = half + RAISED
    i = _RAISES.to(far.device, non_blocking=True)
    cosh = far + torch.log1p(torch.exp(-2 * far)) - math.log(2)  # its logarithm
    cosh = torch.where(far < 1, 0.5 * torch.log1p(torch.sinh(far.clamp(max=1)).square()), cosh)
    x, tanh = torch.exp(-2 * cosh), torch.tanh(far)
    inverse = (a / math.pi).sqrt() * torch.exp(a * torch.log1p(0.5 / a) - 0.5 + _stirling(a + 0.5) - _stirling(a))
    ratio = (i + (half + 0.5)).div_(i + half)
    own = inverse * torch.exp(-ratio.log().sum(0))  # 1 / B(half, 1/2)
    density = own * torch.exp(-df * cosh)
    terms = _nested((i + (half + 0.5)).div_(i + (half + 1)).mul_(x))
    slope, bend = 2 * a * tanh, 2 * a * x
    length = 2 * DROP / (slope + (slope.square() + 2 * bend * DROP).sqrt())
    for _ in range(2):
        grown = torch.expm1(length)
        shape = 1 + (grown * grown + tanh * grown * (grown + 2)) / (2 * (1 + grown))
        bent = 0.5 * ((1 + tanh) * (1 + grown) - (1 - tanh) / (1 + grown))
        length = length - (2 * a * shape.log() - DROP) / (2 * a * bent / shape)
    points, shares = _NODES.to(far.device, non_blocking=True)
    grown = torch.expm1(points * length)
    fall = (grown * grown + tanh * grown * (grown + 2)).div_(2 * (1 + grown)).log1p_().mul_(-2 * a)
    integral = fall.exp_().mul_(shares).sum(0)
    rest = inverse * torch.exp(-2 * a * cosh) * length * integral
    return 0.5 * density * tanh / half * terms + rest, density


def _student_far(tail: Tensor, df: Tensor) -> Tensor:
    """Return asinh(t / sqrt(df)) of the t with a probability beyond it, at most 0.5."""
    score = -torch.special.ndtri(tail.clamp(min=LEAST_LEVEL))
    usual = torch.asinh(score * (1 + (score.square() + 1) / (4 * df)) / df.sqrt())
    power = torch.lgamma(df / 2 + 0.5) - torch.lgamma(df / 2) - 0.5 * math.log(math.pi)  # of the density's height
    last = math.log(2) + (power - torch.log(tail * df)) / df  # beyond the quantile: the tail is thinner than exp(-df y)
    far = torch.minimum(usual, last.clamp(min=0))
    for _ in range(STEPS):  # the logarithm of the tail is concave: Newton's steps end on one side
        above, density = _student_tail(far, df)
        far = (far + (torch.log(above) - torch.log(tail)) * above / density).clamp(min=0)
    return far


def _student_quantile(level: Tensor, df: Tensor) -> Tensor:
    far = _student_far(torch.minimum(level, 1 - level), df)
    return torch.sign(level - 0.5) * df.sqrt() * torch.sinh(far)


def _scaled_far(level: Tensor, share: Tensor) -> Tensor:
    """Return asinh(t / sqrt(df)) sqrt(df share), finite at any share df / (1 + df)."""
    df = share / (1 - share)
    return torch.sign(level - 0.5) * _student_far(torch.minimum(level, 1 - level), df) * (df * share).sqrt()


# Parts


def _nested(ratio: Tensor) -> Tensor:
    """Return 1 + r0 (1 + r1 (1 + …)) of ratios of terms, (term, …), the last one left out."""
    total = ratio[-2] + 1
    for step in range(RAISED - 3, -1, -1):
        total.mul_(ratio[step]).add_(1)
    return total


def _log_of_one_plus(u: Tensor, ratio: Tensor) -> Tensor:
    """Return log(1 + u) - u, where the ratio is 1 + u."""
    return torch.where(u.abs() < 0.5, torch.log1p(u), torch.log(ratio)) - u


def _stirling(n: Tensor) -> Tensor:
    """Return the logarithm of Γ(n) beyond Stirling's formula, for n of `RAISED` and more."""
    s = 1 / n.square()
    return (1 / 12 - s * (1 / 360 - s * (1 / 1260 - s * (1 / 1680 - s / 1188)))) / n
