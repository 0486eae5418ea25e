"""Tables of the comparison: one for each record, and a summary over all of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.defaults.scores import INTERVALS
from benchmarks.tables import table

Scores = dict[str, dict[str, Any]]
"""Scores of a record: forecaster, horizon, score."""
STRONG = "boosting of quantiles"
"""The rival that is best on the mean over the records."""


def best(scores: Scores, rivals: set[str], horizon: str, score: str) -> float:
    """Return the lowest score of any rival at a horizon; NaN without rivals.

    Args:
        scores: Scores of the record.
        rivals: Names of the rivals.
        horizon: Horizon.
        score: `crps` or `mae`.
    """
    return min((held[horizon][score] for name, held in scores.items() if name in rivals), default=float("nan"))


def record_table(scores: Scores, rivals: set[str]) -> list[str]:
    """Return the table of a record: CRPS, MAE, ratios to the best rival, and coverage over all horizons.

    Args:
        scores: Scores of the record.
        rivals: Names of the rivals.
    """
    horizons = list(next(iter(scores.values())))
    header = ["", *(f"CRPS {h}" for h in horizons), *(f"MAE {h}" for h in horizons)]
    header += ["CRPS / best rival", "MAE / best rival", "50 / 80 / 90 / 95 % cover"]
    lowest = {s: [best(scores, rivals, h, s) for h in horizons] for s in ("crps", "mae")}
    rows = []
    for name, held in scores.items():
        cells: list[str] = [name if name in rivals else f"**{name}**"]
        for score in ("crps", "mae"):
            cells += [digits(held[h][score]) for h in horizons]
        for score in ("crps", "mae"):
            ratios = (held[h][score] / low for h, low in zip(horizons, lowest[score], strict=True))
            cells.append(" ".join(f"{ratio:.3f}" for ratio in ratios))
        cells.append(" / ".join(f"{100 * share:.1f}" for share in coverage(held)))
        rows.append(cells)
    return table(header, rows)


def short_table(
    results: dict[str, Scores], rivals: set[str], words: dict[str, tuple[str, str]], name: str
) -> list[str]:
    """Return a row for each record: scores of one forecaster over those of the best rival, and its coverage.

    Args:
        results: Scores of each record.
        rivals: Names of the rivals.
        words: Title and step of each record.
        name: The forecaster.
    """
    header = ["record", "leads", "CRPS / best rival", "MAE / best rival"]
    header += [f"CRPS / {STRONG}", "50 / 80 / 90 / 95 % cover"]
    rows = []
    for record, scores in results.items():
        held = scores.get(name)
        if held is None:
            continue
        title, step = words[record]
        leads = ", ".join(held)
        unit = step if leads == "1" else f"{step}s" if step.isalpha() else f"x {step}"
        cells = [title, f"{leads} {unit}"]
        for score in ("crps", "mae"):
            cells.append(" ".join(f"{held[h][score] / best(scores, rivals, h, score):.3f}" for h in held))
        cells.append(f"{ratio(scores, name, STRONG, 'crps'):.3f}")
        cells.append(" / ".join(f"{100 * share:.0f}" for share in coverage(held)))
        rows.append(cells)
    return table(header, rows) if rows else []


def coverage(held: dict[str, Any]) -> list[float]:
    """Return the shares of cases inside the intervals of each level, the mean over horizons.

    Args:
        held: Scores of a forecaster by horizon.
    """
    return [float(np.mean([one["coverage"][f"{100 * level:g}"] for one in held.values()])) for level in INTERVALS]


def digits(value: float) -> str:
    """Return three or four digits that count."""
    return f"{value:.{int(np.clip(3 - np.floor(np.log10(abs(value) + 1e-12)), 0, 4))}f}"


def ratio(scores: Scores, name: str, other: str, score: str) -> float:
    """Return the geometric mean over horizons of the ratio of two forecasters' scores.

    Args:
        scores: Scores of the record.
        name: Forecaster.
        other: Forecaster that it is compared with.
        score: `crps` or `mae`.
    """
    return float(np.exp(np.mean([np.log(scores[name][h][score] / scores[other][h][score]) for h in scores[name]])))


def summary(results: dict[str, Scores], rivals: set[str]) -> dict[str, Any]:
    """Return, for each forecaster, ratios to each rival over records, the worst ratio, and deviations of coverage.

    Args:
        results: Scores of each record.
        rivals: Names of the rivals.
    """
    names = dict.fromkeys(name for scores in results.values() for name in scores)
    found: dict[str, Any] = {}
    for name in names:
        held = {record: scores for record, scores in results.items() if name in scores}
        others = {}
        for other in names:
            ratios = [ratio(scores, name, other, "crps") for scores in held.values() if other in scores]
            if other != name and ratios:
                others[other] = float(np.exp(np.mean(np.log(ratios))))
        worst: dict[str, Any] = {}
        means = {}
        for score in ("crps", "mae"):
            ratios_ = {
                (record, h): scores[name][h][score] / best(scores, rivals - {name}, h, score)
                for record, scores in held.items()
                for h in scores[name]
            }
            place = max(ratios_, key=lambda key: ratios_[key])
            worst[score] = {"ratio": ratios_[place], "record": place[0], "horizon": place[1]}
            each = [np.mean([np.log(v) for (r, _), v in ratios_.items() if r == record]) for record in held]
            means[score] = float(np.exp(np.mean(each)))
        shares = np.mean([coverage(scores[name]) for scores in held.values()], axis=0)
        apart = {f"{100 * level:g}": 100 * float(share - level) for level, share in zip(INTERVALS, shares, strict=True)}
        found[name] = {"records": len(held), "to best rival": means, "worst": worst, "to each": others, "apart": apart}
    return found


def summary_table(found: dict[str, Any], rivals: set[str]) -> list[str]:
    """Return the table of the summary.

    Args:
        found: Summary.
        rivals: Names of the rivals.
    """
    header = ["", "records", "CRPS / best rival", "MAE / best rival", "worst CRPS ratio", "worst MAE ratio"]
    header += ["coverage - nominal, points, 50 / 80 / 90 / 95"]
    rows = []
    for name, held in found.items():
        worst = [f"{w['ratio']:.3f} ({w['record']}, {w['horizon']})" for w in held["worst"].values()]
        means = [f"{held['to best rival'][score]:.3f}" for score in ("crps", "mae")]
        apart = " / ".join(f"{value:+.1f}" for value in held["apart"].values())
        rows.append([name if name in rivals else f"**{name}**", held["records"], *means, *worst, apart])
    lines = table(header, rows)
    own = [name for name in found if name not in rivals]
    if own:
        others = [name for name in found if name in rivals]
        pairs = [
            [n, *(f"{found[n]['to each'][o]:.3f}" if o in found[n]["to each"] else "" for o in others)] for n in own
        ]
        lines += ["", "CRPS as a ratio to each rival, geometric mean over the records of both:", ""]
        lines += table(["", *others], pairs)
    return lines


def missed(results: dict[str, Scores], found: dict[str, Any], rivals: set[str]) -> list[str]:
    """Return the bars that are missed, in words.

    Args:
        results: Scores of each record.
        found: Summaries by title.
        rivals: Names of the rivals.
    """
    lines = []
    for record, scores in results.items():
        fields = [name for name in scores if name in ("CGLUBNF", "BayesNF")]
        for name in fields:
            for horizon in scores[name]:
                if (apart := scores[name][horizon]["crps"] / best(scores, rivals, horizon, "crps")) >= 1:
                    lines.append(f"{name}, {record}: CRPS {100 * (apart - 1):.1f} % above the best rival")
        for name in ("GatedRNN", "STHSepNet"):
            if name in scores and "Ridge" in scores and (apart := ratio(scores, name, "Ridge", "crps")) > 1.01:
                lines.append(f"{name}, {record}: CRPS {100 * (apart - 1):.1f} % above Ridge")
        for horizon in scores.get("auto", {}):
            for score in ("crps", "mae"):
                apart = scores["auto"][horizon][score] / best(scores, rivals, horizon, score)
                if apart > 1.01:
                    lines.append(f"auto, {record}, {horizon}: {score} {100 * (apart - 1):.1f} % above the best rival")
    for other, apart in found.get("Forecasts", {}).get("auto", {}).get("to each", {}).items():
        if other in rivals and apart > 0.95:
            lines.append(f"auto: CRPS {apart:.3f} of {other}, not 0.95")
    return lines
