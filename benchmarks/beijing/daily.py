"""PM2.5 of twelve stations of Beijing, of which four patterns hide 10 % and 50 %: gaps and forecasts by one fit.

    python -m benchmarks run beijing [--work FOLDER] [--seeds 3] [-- --validate]

The data set beijing_air holds the station files PRSA_Data_*.csv.gz and stations.csv. Daily means of the days with 12
hours or more: faults last 3 to 21 days, forecasts go 1, 3, 7 and 14 days ahead. With `--validate`, what all was chosen
on: forecasts of November 2014 to February 2015, filled is what lies before May, one seed that is not used else.
"""

from benchmarks.beijing.comparison import compare, findings, read, seeds_of, store_of
from benchmarks.beijing.tasks import PATTERNS, Task
from benchmarks.options import Options
from benchmarks.registry import benchmark


@benchmark(
    "beijing",
    claim="PM2.5 of Beijing, 10 and 50 % hidden: one field fills gaps best and forecasts 3 to 14 days ahead best",
    cost="a day; data beijing_air",
    quick="interpolation alone, one pattern",
    seeds=3,
    one_thread=True,
)
def run(options: Options, *, validate: bool = False):
    """Score the field and its rivals on daily means.

    Args:
        options: Options of all benchmarks.
        validate: The months and the seed that all was chosen on; nothing is written.
    """
    kept, panel = store_of(options, "beijing", validate), read(options.dataset("beijing_air"), hourly=False)
    groups = {f"{100 * rate:g} %, {p}": (p, rate) for rate in (0.1, 0.5) for p in PATTERNS}
    seeds = seeds_of(options, validate)
    for seed in seeds:
        for group, (pattern, rate) in list(groups.items())[: 1 if options.quick else None]:
            task = Task(panel, PATTERNS[pattern], rate, seed, validate=validate)
            compare(kept, group, task, options.quick)
    return findings(kept, hourly=False, validate=validate, seeds=seeds)
