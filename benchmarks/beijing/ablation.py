"""The field on PM2.5 of Beijing with one of its parts off each time: blocks in space and time, daily, 50 %.

    python -m benchmarks run beijing_ablation [--work FOLDER] [--seeds 3] [-- --validate]

Data and validation are those of daily.py.
"""

from functools import partial

from benchmarks.beijing.comparison import findings, of_field, read, seeds_of, store_of
from benchmarks.beijing.tasks import PATTERNS, Task
from benchmarks.options import Options
from benchmarks.registry import benchmark

OFF = {
    "all parts": {},
    "no graph": {"graph": 0},
    "no gate": {"gate": False},
    "residual not gated": {"residual": "additive"},
    "no residual": {"residual": "none"},
    "activation fixed": {"activation": "fixed"},
}


@benchmark(
    "beijing_ablation",
    claim="each part of the field is of use on PM2.5 of Beijing, half of it hidden in blocks",
    cost="hours; data beijing_air",
    quick="none: it fits the field with all parts, one seed, in full",
    seeds=3,
    one_thread=True,
)
def run(options: Options, *, validate: bool = False):
    """Score the field with one part off each time.

    Args:
        options: Options of all benchmarks.
        validate: The months and the seed that all was chosen on; nothing is written.
    """
    kept, panel = store_of(options, "beijing_ablation", validate), read(options.dataset("beijing_air"), hourly=False)
    seeds = seeds_of(options, validate)
    for seed in seeds:
        task = Task(panel, PATTERNS["clustered, block"], 0.5, seed, validate=validate)
        for who, parts in list(OFF.items())[: 1 if options.quick else None]:
            make = partial(of_field, task, **parts)
            kept.once("50 %, clustered, block", who, str(seed), make=make)
    return findings(kept, hourly=False, validate=validate, seeds=seeds)
