"""PM2.5 of Beijing, hourly, of which a block in space and time hides 30 %: gaps and forecasts by one fit.

    python -m benchmarks run beijing_hourly [--work FOLDER] [-- --validate]

Data and validation are those of daily.py. Faults last 24 to 168 hours, forecasts go 1, 6, 12, 24 and 72 hours ahead,
without and with the weather of the hour that is forecast (perfect weather: what no forecaster has), one seed.
"""

from benchmarks.beijing.comparison import compare, findings, read, seeds_of, store_of
from benchmarks.beijing.tasks import PATTERNS, WEATHER, Task
from benchmarks.options import Options
from benchmarks.registry import benchmark


@benchmark(
    "beijing_hourly",
    claim="PM2.5 of Beijing by the hour, 30 % hidden in blocks: one field is best in filling and one hour ahead",
    cost="hours; data beijing_air",
    quick="interpolation alone, without weather",
    seeds=1,
    one_thread=True,
)
def run(options: Options, *, validate: bool = False):
    """Score the field and its rivals on hourly values.

    Args:
        options: Options of all benchmarks.
        validate: The months and the seed that all was chosen on; nothing is written.
    """
    kept, panel = store_of(options, "beijing_hourly", validate), read(options.dataset("beijing_air"), hourly=True)
    seeds = seeds_of(options, validate)
    for seed in seeds:
        for weather in ((),) if options.quick else ((), WEATHER):
            group = f"30 %, clustered, block, {'perfect' if weather else 'no'} weather"
            task = Task(panel, PATTERNS["clustered, block"], 0.3, seed, weather, validate)
            compare(kept, group, task, options.quick)
    return findings(kept, hourly=True, validate=validate, seeds=seeds)
