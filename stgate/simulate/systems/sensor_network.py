"""Network of air-quality stations in a field whose truth is known everywhere."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from stgate.errors import RequestError, did_you_mean
from stgate.simulate.counting import member_stream
from stgate.simulate.system import START, Array, Attrs, Defaults, Place, StepLimits, Stepper, System, positive

GRID = 32
"""Waves in each direction; the sources are smooth, so the next one would carry less than 1e-5 of the field."""
SOURCES = 6
DRAWS = 24
"""Number of steps whose random numbers are drawn together, from a stream of their own, so that a run can be resumed."""
YEAR = 8766.0
GAPS = 240
"""Number of steps in which each station has one gap of each pollutant, if any."""
POLLUTANTS = {
    "pm25": ("PM2.5", "mass_concentration_of_pm2p5_ambient_aerosol_particles_in_air", 16.0),
    "pm10": ("PM10", "mass_concentration_of_pm10_ambient_aerosol_particles_in_air", 12.0),
    "no2": ("NO2", "mass_concentration_of_nitrogen_dioxide_in_air", 8.0),
    "o3": ("O3", "mass_concentration_of_ozone_in_air", 24.0),
    "so2": ("SO2", "mass_concentration_of_sulfur_dioxide_in_air", 20.0),
    "co": ("CO", "mass_concentration_of_carbon_monoxide_in_air", 36.0),
}
"""Name, CF standard name and mean lifetime in hours of each pollutant, in the order in which they are simulated."""
KEPT = ("measured", "truth", "wind")
"""What a panel may hold."""


@dataclass(frozen=True, kw_only=True)
class SensorNetwork(System):
    """c_t + w(t)·∇c = κ ∇²c - c/τ(t) + E(x, t) on a periodic square, sampled by stations.

    Six smooth sources and a faint background emit, more at rush hours and in winter; the wind w, the same everywhere,
    is a mean plus a sea breeze that turns daily plus an Ornstein-Uhlenbeck process; dilution 1/τ is strongest after
    noon. With the phases d of the day and y of the year, in µg/m³, km and h:
        E = (0.4 + Σ q exp(-|x - x_q|² / 2 s_q²)) (1 - 0.4 cos d - 0.3 cos(2 d - 2)) (1 + 0.4 cos y)
        1/τ = (1 - 0.6 cos(d - 0.5)) / 16,  κ = 5
        w = 4 + 2i + 5 exp(i d) + OU(standard deviation 8 in each direction, memory 36 h), eastward + i northward
    The sources' q, x_q and s_q are drawn from the seed and are kept in the panel's attributes. Over each step wind,
    dilution and emissions are constant, taken at its middle, and each Fourier mode is then advanced exactly: the truth
    has no error of discretisation, and is known at any place. A station reports it times log-normal noise of mean 1.
    Time is in hours and the panel's time is a calendar. Further pollutants are blown by the same wind; each has sources
    and a lifetime of its own. With `missing` each station has one gap of each pollutant in every ten days of steps, of
    random place and length.

    Args:
        stations: Number of stations, at random places.
        places: Number of further random places without a station, where the truth is known and nothing is measured.
        size: Side of the square in km.
        noise: Standard deviation of the logarithm of the instrument noise.
        start: First time of the panel.
        pollutants: Number of pollutants, from pm25, pm10, no2, o3, so2, co.
        missing: Share of the measurements that is missing, in gaps of whole stations.
        kept: What the panel holds: measured, truth, wind.

    References:
        Sigrist, F., Künsch, H. R., Stahel, W. A. (2015), J. R. Stat. Soc. B 77, 3-33, doi:10.1111/rssb.12061 (the
        spectral solution of advection-diffusion with damping and forcing).
    """

    stations: int = 36
    places: int = 0
    size: float = 100.0
    noise: float = 0.1
    start: str = "2020-01-01"
    pollutants: int = 1
    missing: float = 0.0
    kept: tuple[str, ...] = KEPT

    name: ClassVar[str] = "sensor_network"
    integrator: ClassVar[str] = "exact for each Fourier mode, wind and emissions constant over a step"
    equation: ClassVar[str] = "c_t + w(t).grad c = kappa lap c - c/tau(t) + E(x, t)"
    defaults: ClassVar[Defaults] = Defaults(duration=8760.0, step=1.0, every=1, spinup=240.0)

    diffusivity: ClassVar[float] = 5.0  # km²/h
    background: ClassVar[float] = 0.4  # µg/m³/h

    def __post_init__(self) -> None:
        super().__post_init__()
        import pandas as pd  # takes longer to import than all systems

        positive(stations=self.stations)
        if self.places < 0:
            raise RequestError(f"places {self.places}: must not be negative")
        if not (np.isfinite(self.size) and self.size >= 20):
            raise RequestError(f"size {self.size:g}: must be at least 20 (km)")
        if not (np.isfinite(self.noise) and self.noise >= 0):
            raise RequestError(f"noise {self.noise:g}: must not be negative")
        try:
            start = pd.Timestamp(self.start)
        except (TypeError, ValueError) as error:
            raise RequestError(f"start {self.start!r}: not a time; write it like 2020-01-01") from error
        if pd.isna(start) or start.tz is not None:
            raise RequestError(f"start {self.start!r}: must have no time zone; write it like 2020-01-01")
        if not 1700 <= start.year <= 2200:
            raise RequestError(f"start {self.start!r}: must lie between the years 1700 and 2200")
        object.__setattr__(self, "start", start.isoformat())
        if not 1 <= self.pollutants <= len(POLLUTANTS):
            raise RequestError(f"pollutants {self.pollutants}: must lie between 1 and {len(POLLUTANTS)}")
        if not 0 <= self.missing < 1:
            raise RequestError(f"missing {self.missing:g}: must be a share, at least 0 and below 1")
        kept = tuple(self.kept)
        for part in kept:
            if part not in KEPT:
                raise RequestError(f"kept {part!r}: {did_you_mean(part, KEPT)}")
        if not kept or len(set(kept)) < len(kept):
            raise RequestError(f"kept {list(kept)}: name each part once, at least one of {', '.join(KEPT)}")
        object.__setattr__(self, "kept", tuple(part for part in KEPT if part in kept))

    @property
    def names(self) -> list[str]:
        """Names of the pollutants."""
        return list(POLLUTANTS)[: self.pollutants]

    @property
    def lifetimes(self) -> Array:
        """Mean lifetimes of the pollutants in hours, (pollutant,)."""
        return np.array([POLLUTANTS[name][2] for name in self.names])

    @property
    def watched(self) -> slice:  # type: ignore[override] # of what is kept
        """Variables that are checked for blow-up: all but the measured ones, which have gaps."""
        return slice(self.pollutants if "measured" in self.kept else 0, None)

    @property
    def title(self) -> str:
        """Name of the system, in a few words."""
        return f"Sensor network, {self.stations} stations in an advected field of known truth"

    @property
    def dimension(self) -> int:
        """Number of points of the grid."""
        return self.pollutants * GRID * GRID

    @property
    def sites(self) -> int:
        """Number of nodes: stations first, then places without one."""
        return self.stations + self.places

    @property
    def variables(self) -> dict[str, Attrs]:
        """Variables: measured and true concentrations, and the wind."""
        found: dict[str, Attrs] = {}
        for part, suffix, what in (("measured", "", "as measured"), ("truth", "_truth", "without instrument noise")):
            for name in self.names if part in self.kept else ():
                title, standard, _ = POLLUTANTS[name]
                found[name + suffix] = {
                    "long_name": f"{title} {what}",
                    "units": "ug/m3",
                    "standard_name": standard,
                }
        if "wind" in self.kept:
            found["wind_u"] = {"long_name": "eastward wind", "units": "m s-1", "standard_name": "eastward_wind"}
            found["wind_v"] = {"long_name": "northward wind", "units": "m s-1", "standard_name": "northward_wind"}
        return found

    @property
    def state_variables(self) -> tuple[str, ...]:
        """State on the grid, which no panel has."""
        return ("field",)

    @property
    def limits(self) -> StepLimits:
        """Limits of the step: the solution is exact for any step, but a long one coarsens wind and cycles."""
        return StepLimits(3.0, 24.0, "wind and daily cycle are constant over a step")

    @property
    def bound(self) -> float:
        """Bound far above any concentration."""
        return 1e7

    def attrs(self, seed: int) -> Attrs:
        """Attributes of the square, all constants and the sources."""
        sources = {}
        for number, name in enumerate(self.names):
            strength, where, width, _ = self.layout(seed, number)
            sources["sources" if number == 0 else f"sources_{name}"] = json.dumps(
                [
                    {"q": round(q, 4), "x": round(x, 3), "y": round(y, 3), "s": round(s, 3)}
                    for q, (x, y), s in zip(strength.tolist(), where.tolist(), width.tolist(), strict=True)
                ]
            )
        return {
            "boundary_of_field": "periodic",
            "domain_km": float(self.size),
            "emission": "(0.4 + sum q exp(-|x - x_q|^2 / 2 s_q^2)) (1 - 0.4 cos d - 0.3 cos(2 d - 2)) (1 + 0.4 cos y)",
            **sources,
            "dilution": f"1/tau = (1 - 0.6 cos(d - 0.5)) / {', '.join(f'{life:g}' for life in self.lifetimes)}",
            "diffusivity": self.diffusivity,
            "wind": "4 + 2i + 5 exp(i d) + OU(standard deviation 8 in each direction, memory 36)",
            "symbols": "km, h, ug/m3; d and y are the phases of the day (0 at midnight) and of the year",
            "units_of_duration_step_spinup": "h",
        }

    def layout(self, seed: int, pollutant: int = 0) -> tuple[Array, Array, Array, Array]:
        """Draw the strength, position and width of the sources, and the positions of the nodes, (node, 2), in km."""
        stream = member_stream("sensor_network layout", seed, *([pollutant] if pollutant else []))
        strength = stream.uniform(2.0, 8.0, SOURCES)
        where = stream.uniform(0.0, self.size, (SOURCES, 2))
        width = stream.uniform(0.06, 0.12, SOURCES) * self.size
        return strength, where, width, stream.uniform(0.0, self.size, (self.sites, 2))

    def sources(self, seed: int, pollutant: int = 0) -> Array:
        """Compute the spectrum of the emissions of a pollutant, (wave, wave)."""
        kx, ky = self.waves
        spectrum = np.zeros((GRID, GRID // 2 + 1), complex)
        for q, (x, y), s in zip(*self.layout(seed, pollutant)[:3], strict=True):
            area = 2 * np.pi * s**2 / self.size**2
            spectrum += q * area * np.exp(-0.5 * s**2 * (kx**2 + ky**2) - 1j * (kx * x + ky * y))
        spectrum[0, 0] += self.background
        return spectrum

    @cached_property
    def waves(self) -> tuple[Array, Array]:
        """Wave numbers, (wave, wave) each."""
        k = 2 * np.pi / self.size
        return np.meshgrid(k * np.fft.fftfreq(GRID, 1 / GRID), k * np.arange(GRID // 2 + 1), indexing="ij")

    def coords(self, seed: int) -> dict[str, Any]:
        """Make labels and positions of the nodes, and the flag of stations."""
        nodes, counts = self.layout(seed)[3], (self.stations, self.places)
        labels = [f"{kind}{i:03d}" for kind, count in zip("sp", counts, strict=True) for i in range(count)]
        return {
            "node": np.array(labels),
            "x": ("node", nodes[:, 0], {"units": "km", "long_name": "eastward position"}),
            "y": ("node", nodes[:, 1], {"units": "km", "long_name": "northward position"}),
            "station": ("node", np.arange(self.sites) < self.stations, {"long_name": "whether there is a station"}),
        }

    def times(self, counts: Array, step: float) -> Any:  # noqa: ANN401 (a DatetimeIndex)
        """Make calendar times, in hours from the start."""
        seconds = step * 3600
        if abs(seconds - round(seconds)) > 1e-6:
            raise RequestError(f"step {step:g}: must be hours that make up whole seconds")
        import pandas as pd

        return pd.Timestamp(self.start).as_unit("s") + pd.to_timedelta(counts * round(seconds), unit="s").as_unit("s")

    def initial(self, stream: np.random.Generator) -> Array:
        """Make a state of clean air, which the spin-up fills."""
        return np.zeros(self.dimension)

    def encode(self, physical: Array) -> Array:
        """Compute the spectrum over the number of points, followed by the wind's random part, one complex number."""
        fields = np.asarray(physical, dtype=np.float64).reshape(-1, self.pollutants, GRID, GRID)
        spectra = (np.fft.rfft2(fields) / GRID**2).reshape(len(fields), -1)
        return np.concatenate([spectra, np.zeros((len(fields), 1))], axis=1)

    def stepper(self, states: Array, *, step: float, place: Place = START) -> Stepper:
        """Make a stepper that advances the spectra exactly."""
        return NetworkStepper(self, states, step, place)


class NetworkStepper(Stepper):
    """Stepper of spectra, (member, pollutant · wave · wave + 1), with the random part of the wind last."""

    def __init__(self, system: SensorNetwork, states: Array, step: float, place: Place) -> None:
        self.system, self.step, self.clock, self.place = system, step, place.clock, place
        self.spectra = states[:, :-1].copy().reshape(len(states), system.pollutants, -1)
        self.wander = states[:, -1].copy()
        nodes = system.layout(place.seed)[3]
        self.kx, self.ky = (k.ravel() for k in system.waves)
        self.sources = np.stack([system.sources(place.seed, p).ravel() for p in range(system.pollutants)])
        # A real field from half its spectrum: all columns but the first and the last stand for two waves.
        weight = np.full((GRID, GRID // 2 + 1), 2.0)
        weight[:, [0, -1]] = 1.0
        phases = np.exp(1j * (np.outer(self.kx, nodes[:, 0]) + np.outer(self.ky, nodes[:, 1])))
        self.at_nodes = weight.reshape(-1, 1) * phases  # (wave, node)
        if system.pollutants > 1:  # only the real part of the product is needed: half of it
            self.at_nodes = np.concatenate([self.at_nodes.real, -self.at_nodes.imag])
        import pandas as pd

        epoch = (pd.Timestamp(system.start) - pd.Timestamp("2000-01-01")) / pd.Timedelta("1h")
        self.epoch = epoch - place.origin * step
        self.lots: dict[int, list[tuple[Array, Array]]] = {}
        self.gaps: dict[int, tuple[Array, Array]] = {}

    def draws(self, clock: int) -> tuple[Array, Array]:
        """Draw a step's random numbers: of the wind (member,), complex; of instruments (member, pollutant, node)."""
        lot, row = divmod(clock, DRAWS)
        if lot not in self.lots:
            members = range(self.place.first, self.place.first + len(self.spectra))
            streams = [member_stream(self.system.name, self.place.seed, member, lot) for member in members]
            wind = np.stack([s.standard_normal((DRAWS, 2)) for s in streams]) @ np.array([1.0, 1.0j])
            shape = (DRAWS, self.system.pollutants, self.system.sites)
            instruments = np.stack([s.standard_normal(shape) for s in streams])
            self.lots = {lot: [(wind[:, i], instruments[:, i]) for i in range(DRAWS)]}
        wind, instruments = self.lots[lot][row]
        return wind, instruments

    def missing(self, clock: int) -> Array:
        """Return True where a measurement of a step is missing, (member, pollutant, node)."""
        lot, row = divmod(clock, GAPS)
        if lot not in self.gaps:
            share = self.system.missing
            members = range(self.place.first, self.place.first + len(self.spectra))
            streams = [member_stream("sensor_network gaps", self.place.seed, member, lot) for member in members]
            shape = (2, self.system.pollutants, self.system.sites)
            begun, long = np.stack([stream.random(shape) for stream in streams], 1)
            spread = min(share, 1 - share)  # lengths lie evenly around their mean, and none is longer than the lot
            self.gaps = {lot: (GAPS * begun, GAPS * (share + spread * (2 * long - 1)))}
        begun, long = self.gaps[lot]
        return np.asarray((row - begun) % GAPS < long)

    def wind(self, hour: float) -> Array:
        """Compute the eastward + i northward wind in km/h, (member,): mean, sea breeze and random part."""
        return np.asarray(4.0 + 2.0j + 5.0 * np.exp(2j * np.pi * hour / 24) + self.wander)

    def advance(self, steps: int) -> None:
        """Advance all members by a number of steps."""
        system, h = self.system, self.step
        keep = np.exp(-h / 36.0)
        for _ in range(steps):
            hour = self.epoch + (self.clock + 0.5) * h
            self.wander = keep * self.wander + 8.0 * np.sqrt(1 - keep**2) * self.draws(self.clock)[0]
            wind = self.wind(hour)[:, None, None]
            day, year = 2 * np.pi * hour / 24, 2 * np.pi * hour / YEAR
            emission = (1 - 0.4 * np.cos(day) - 0.3 * np.cos(2 * day - 2.0)) * (1 + 0.4 * np.cos(year))
            dilution = (1 - 0.6 * np.cos(day - 0.5)) / system.lifetimes[:, None]
            rate = -(
                1j * (wind.real * self.kx + wind.imag * self.ky)
                + system.diffusivity * (self.kx**2 + self.ky**2)
                + dilution
            )
            growth = np.exp(h * rate)
            self.spectra = growth * self.spectra + (growth - 1) / rate * (emission * self.sources)
            self.clock += 1

    def read(self, out: Array) -> None:
        """Write measured and true concentrations and the wind into `out`, (member, variable, node)."""
        system, count, row = self.system, self.system.pollutants, 0
        truth = np.empty((len(out), count, system.sites), out.dtype)
        # One member at a time: a matrix product rounds differently for different numbers of rows.
        for member, spectra in enumerate(self.spectra):
            if count == 1:
                truth[member] = (spectra @ self.at_nodes).real
            else:
                truth[member] = np.concatenate([spectra.real, spectra.imag], 1) @ self.at_nodes
        if "measured" in system.kept:
            noise = system.noise * self.draws(self.clock)[1] - 0.5 * system.noise**2
            measured = truth * np.exp(noise)
            measured[..., system.stations :] = np.nan
            out[:, :count] = np.where(self.missing(self.clock), np.nan, measured) if system.missing else measured
            row = count
        if "truth" in system.kept:
            out[:, row : row + count] = truth
            row += count
        if "wind" in system.kept:
            wind = self.wind(self.epoch + self.clock * self.step)[:, None] / 3.6
            out[:, row], out[:, row + 1] = wind.real, wind.imag

    @property
    def state(self) -> Array:
        """A copy of the spectra and the wind's random part."""
        return np.concatenate([self.spectra.reshape(len(self.spectra), -1), self.wander[:, None]], axis=1)
