"""Special functions of the normal distribution and the gamma function, by arithmetic, exp and log in double precision.

ONNX has no inverse of them, and its runtime no double precision of what it has.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

# Cody's rational approximations of erf and erfc, as the Cephes library has them (Moshier 1989).
ERF = (
    (
        9.60497373987051638749,
        90.0260197203842689217,
        2232.00534594684319226,
        7003.32514112805075473,
        55592.3013010394962768,
    ),
    (
        1.0,
        33.5617141647503099647,
        521.357949780152679795,
        4594.32382970980127987,
        22629.0000613890934246,
        49267.3942608635921086,
    ),
)
NEAR = (
    (
        2.46196981473530512524e-10,
        0.564189564831068821977,
        7.46321056442269912687,
        48.6371970985681366614,
        196.520832956077098242,
        526.445194995477358631,
        934.528527171957607540,
        1027.55188689515710272,
        557.535335369399327526,
    ),
    (
        1.0,
        13.2281951154744992508,
        86.7072140885989742329,
        354.937778887819891062,
        975.708501743205489753,
        1823.90916687909736289,
        2246.33760818710981792,
        1656.66309194161350182,
        557.535340817727675546,
    ),
)
FAR = (
    (
        0.564189583547755073984,
        1.27536670759978104416,
        5.01905042251180477414,
        6.16021097993053585195,
        7.40974269950448939160,
        2.97886665372100240670,
    ),
    (
        1.0,
        2.26052863220117276590,
        9.39603524938001434673,
        12.0489539808096656605,
        17.0814450747565897222,
        9.60896809063285878198,
        3.36907645100081516050,
    ),
)
# Wichura (1988), Algorithm AS 241: the percentage points of the normal distribution. Applied Statistics 37.
CENTRE = (
    (
        2509.0809287301226727,
        33430.575583588128105,
        67265.770927008700853,
        45921.953931549871457,
        13731.693765509461125,
        1971.5909503065514427,
        133.14166789178437745,
        3.3871328727963666080,
    ),
    (
        5226.4952788528545610,
        28729.085735721942674,
        39307.895800092710610,
        21213.794301586595867,
        5394.1960214247511077,
        687.18700749205790830,
        42.313330701600911252,
        1.0,
    ),
)
TAIL = (
    (
        7.74545014278341407640e-4,
        0.0227238449892691845833,
        0.241780725177450611770,
        1.27045825245236838258,
        3.64784832476320460504,
        5.76949722146069140550,
        4.63033784615654529590,
        1.42343711074968357734,
    ),
    (
        1.05075007164441684324e-9,
        5.47593808499534494600e-4,
        0.0151986665636164571966,
        0.148103976427480074590,
        0.689767334985100004550,
        1.67638483018380384940,
        2.05319162663775882187,
        1.0,
    ),
)
OUTER = (
    (
        2.01033439929228813265e-7,
        2.71155556874348757815e-5,
        1.24266094738807843860e-3,
        0.0265321895265761230930,
        0.296560571828504891230,
        1.78482653991729133580,
        5.46378491116411436990,
        6.65790464350110377720,
    ),
    (
        2.04426310338993978564e-15,
        1.42151175831644588870e-7,
        1.84631831751005468180e-5,
        7.86869131145613259100e-4,
        0.0148753612908506148525,
        0.136929880922735805310,
        0.599832206555887937690,
        1.0,
    ),
)
# Lanczos (1964), with g = 7 and nine terms.
LANCZOS = (
    676.5203681218851,
    -1259.1392167224028,
    771.32342877765313,
    -176.61502916214059,
    12.507343278686905,
    -0.13857109526572012,
    9.9843695780195716e-6,
    1.5056327351493116e-7,
)


def erf(x: Tensor) -> Tensor:
    """Return the error function, of the type of x."""
    wide = x.double()
    inner = wide.clamp(-1, 1)
    made = torch.where(wide.abs() < 1, inner * _ratio(ERF, inner * inner), wide.sign() * (1 - _upper(wide.abs())))
    return made.to(x.dtype)


def erfc(x: Tensor) -> Tensor:
    """Return one less the error function, of the type of x."""
    wide = x.double()
    inner, upper = wide.clamp(-1, 1), _upper(wide.abs())
    made = torch.where(wide < 0, 2 - upper, upper)
    return torch.where(wide.abs() < 1, 1 - inner * _ratio(ERF, inner * inner), made).to(x.dtype)


def erfinv(x: Tensor) -> Tensor:
    """Return the inverse of the error function, of the type of x."""
    wide = x.double()
    return (_quantile(0.5 * wide, 0.5 * (1 - wide.abs())) / math.sqrt(2)).to(x.dtype)


def ndtr(x: Tensor) -> Tensor:
    """Return the distribution function of a standard normal value, of the type of x."""
    return (0.5 * erfc(-x.double() / math.sqrt(2))).to(x.dtype)


def ndtri(level: Tensor) -> Tensor:
    """Return the quantile of a standard normal value, of the type of the level."""
    wide = level.double()
    return _quantile(wide - 0.5, torch.minimum(wide, 1 - wide)).to(level.dtype)


def lgamma(x: Tensor) -> Tensor:
    """Return the logarithm of the gamma function of numbers above zero, of the type of x."""
    wide = x.double()
    series = torch.full_like(wide, 0.99999999999980993)
    for number, term in enumerate(LANCZOS, 1):  # of gamma(1 + x), which has no pole near zero
        series = series + term / (wide + number)
    top = wide + 7.5
    made = 0.5 * math.log(2 * math.pi) + (wide + 0.5) * top.log() - top + series.log()
    return (made - wide.log()).to(x.dtype)


def _upper(size: Tensor) -> Tensor:
    """Return erfc of numbers of at least one; anything for others."""
    near, far = size.clamp(1, 8), size.clamp(8, 30)
    return torch.exp(-size.clamp(max=30).square()) * torch.where(size < 8, _ratio(NEAR, near), _ratio(FAR, far))


def _quantile(q: Tensor, smaller: Tensor) -> Tensor:
    """Return the normal quantile of the level 1/2 + q, where `smaller` is the smaller of the level and one less it."""
    inner = q.clamp(-0.425, 0.425)
    centre = inner * _ratio(CENTRE, 0.180625 - inner * inner)
    r = torch.sqrt(-torch.log(smaller.clamp(1e-300, 0.5)))
    far = torch.where(r <= 5, _ratio(TAIL, (r - 1.6).clamp(max=3.4)), _ratio(OUTER, (r - 5).clamp(min=0)))
    made = torch.where(q.abs() <= 0.425, centre, q.sign() * far)
    made = torch.where(smaller == 0, q.sign() * torch.inf, made)
    return torch.where(smaller >= 0, made, torch.nan)


def _ratio(terms: tuple[Sequence[float], Sequence[float]], x: Tensor) -> Tensor:
    """Return the ratio of two polynomials, the highest power first."""
    above, below = (_polynomial(part, x) for part in terms)
    return above / below


def _polynomial(terms: Sequence[float], x: Tensor) -> Tensor:
    made = torch.full_like(x, terms[0])
    for term in terms[1:]:
        made = made * x + term
    return made
