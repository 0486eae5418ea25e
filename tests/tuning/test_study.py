"""The study of a search: shared, resumed, killed; no forecaster is fitted here."""

import multiprocessing
import os

import optuna
import pytest

from stgate.errors import PanelError, RequestError, TrainingError
from stgate.tuning.space import Dimension
from stgate.tuning.study import options_of, search

SPACE = [Dimension.parse("model.a=0.0..1.0"), Dimension.parse("model.b=1,2,3")]


def bowl(options, report):
    """Score of a trial: the request as it stands is 1."""
    a, b = float(options.get("model.a", 1)), float(options.get("model.b", 1))
    for epoch in range(1, 4):
        report((a - 0.3) ** 2 + b + 1 / epoch, epoch)
    return (a - 0.3) ** 2 + 0.51 * b


def run(storage, trials, evaluate=bowl, seed=0, **options):
    given = {"name": "s", "request": "as asked\nmodel.a", "minutes": None, "tell": lambda line: None} | options
    return search(
        SPACE, evaluate, storage=str(storage), trials=trials, seed=seed, **{"better": lambda found: None, **given}
    )


def shares(storage, trials):
    run(storage, trials)


def dies(storage, at):
    def evaluate(options, report):
        if options and len(optuna.load_study(study_name="s", storage=f"sqlite:///{storage}").trials) > at:
            os._exit(9)
        return bowl(options, report)

    run(storage, 20, evaluate)


@pytest.mark.parametrize("name", ["s.db", "s.log"])
def test_a_stopped_search_goes_on_to_the_trials_of_one_that_was_not(tmp_path, name):
    run(tmp_path / name, 3)
    resumed = run(tmp_path / name, 7)
    whole = run(tmp_path / f"whole-{name}", 7)
    assert [options_of(t) for t in resumed.trials] == [options_of(t) for t in whole.trials]
    assert [t.values for t in resumed.trials] == [t.values for t in whole.trials]
    assert options_of(resumed.trials[0]) == {}, "the request as it stands comes first"
    assert run(tmp_path / name, 7).trials[-1].number == 6, "nothing is left to do"


def test_the_best_options_are_told_after_each_trial_and_are_never_worse_than_the_request(tmp_path):
    told = []
    study = run(tmp_path / "s.db", 6, better=told.append)
    assert len(told) == 6
    assert told[0] == {}
    assert told[-1] == options_of(study.best_trial)
    assert study.best_value <= study.trials[0].value


def test_processes_share_a_study_and_propose_different_options(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    run(tmp_path / "s.db", 1)
    workers = [spawn.Process(target=shares, args=(tmp_path / "s.db", 9)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    trials = run(tmp_path / "s.db", 9).trials
    assert 9 <= len(trials) <= 10, "each process may begin one while the other begins the last"
    drawn = [str(options_of(t)) for t in trials]
    assert len(set(drawn)) == len(drawn)
    assert sum("as asked" in t.user_attrs for t in trials) == 1


def test_the_trial_of_a_killed_process_is_given_up_and_made_good(tmp_path):
    killed = multiprocessing.get_context("spawn").Process(target=dies, args=(tmp_path / "s.db", 2))
    killed.start()
    killed.join()
    assert killed.exitcode == 9
    study = run(tmp_path / "s.db", 5)
    states = [t.state.name for t in study.trials]
    assert "RUNNING" not in states
    assert states.count("FAIL") == 1
    assert len(states) == 6


def test_options_that_were_scored_are_not_fitted_again(tmp_path):
    fitted = []

    def evaluate(options, report):
        fitted.append(str(options))
        return float(options.get("model.b", 0))

    given = {"storage": str(tmp_path / "s.db"), "name": "s", "request": "", "minutes": None, "seed": 0}
    told = []
    space = [Dimension.parse("model.b=1,2")]
    study = search(space, evaluate, trials=8, tell=told.append, better=lambda found: None, **given)
    assert len(study.trials) == 8
    assert len(fitted) == len(set(fitted)) == 3
    assert sum("the same as" in line for line in told) == 5


def test_a_trial_far_behind_the_others_is_ended_but_never_the_request_as_it_stands(tmp_path):
    def slow(options, report):
        bad = bool(options) and len(seen) > 5
        seen.append(bad or not options)
        for epoch in range(1, 12):
            report(100.0 if seen[-1] else 1.0, epoch)
        return 100.0 if seen[-1] else 1.0

    seen = []
    study = run(tmp_path / "s.db", 9, slow)
    states = [t.state.name for t in study.trials]
    assert states[0] == "COMPLETE"
    assert states.count("PRUNED") >= 2


@pytest.mark.parametrize("error", [TrainingError("the loss is nan"), PanelError("`y`: too short for the window")])
def test_a_trial_that_fails_counts_and_the_search_goes_on(tmp_path, error):
    def evaluate(options, report):
        if options.get("model.b") == "2":
            raise error
        return bowl(options, report)

    lines = []
    study = run(tmp_path / "s.db", 12, evaluate, tell=lines.append)
    assert len(study.trials) == 12
    assert any(f"failed: {error}" in line for line in lines)


def test_a_request_that_cannot_be_fitted_at_all_is_refused_as_the_fit_refuses_it(tmp_path):
    def evaluate(options, report):
        raise PanelError("`y`: missing")

    with pytest.raises(PanelError, match="`y`: missing"):
        run(tmp_path / "s.db", 3, evaluate)


@pytest.mark.parametrize(
    ("storage", "said"),
    [
        ("s.txt", "give a file"),
        ("nowhere/s.db", "does not exist"),
        ("nosuch://host/x", "cannot be used"),
        ("sqlite:////nowhere/at/all.db", "cannot be used"),
    ],
)
def test_a_storage_that_cannot_be_used_is_refused_in_one_line(tmp_path, monkeypatch, storage, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((RequestError, Exception), match=said) as refused:
        run(storage, 1)
    assert "\n" not in str(refused.value)
    assert "--storage" in str(refused.value)


def test_a_study_of_another_request_is_refused_by_what_differs(tmp_path):
    run(tmp_path / "s.db", 1)
    with pytest.raises(RequestError, match="begun with other options") as refused:
        run(tmp_path / "s.db", 2, request="as asked\nmodel.c")
    assert "model.a and model.c" in str(refused.value)
