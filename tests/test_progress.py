"""Progress: lines while somebody waits, tasks for scikit-learn's callbacks, and silence and no cost otherwise."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
import threading
import time
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skdep
from skdep import BayesLogit, GEEClassifier, GEERegressor, LogitRegressor, MixedLinear, MixedLogit, _progress
from skdep._compat import fit_context
from skdep._progress import Progress, is_shown, iteration, listening, show_progress, tracked
from skdep.gee import DropoutGEE
from skdep.inference import bootstrap, compare_correlations, profile_interval, weight_diagnostics

RNG = np.random.default_rng(21)
N = 120
X = pd.DataFrame(RNG.normal(size=(N, 2)), columns=["dose", "age"])
GROUPS = pd.Series(np.arange(N) % 15, name="school")
EFFECT, SLOPE = 1.5 * RNG.normal(size=(2, 15))[:, GROUPS]
Y = X["dose"] + EFFECT + SLOPE * X["age"] + RNG.normal(size=N)
CLASSES = (X["dose"] + EFFECT + RNG.logistic(size=N) > 0).astype(int)

ESTIMATORS = {
    "LogitRegressor": (LogitRegressor(), CLASSES),
    "GEERegressor": (GEERegressor(family="poisson"), RNG.poisson(np.exp(0.5 * X["dose"]))),
    "GEEClassifier": (GEEClassifier(working_correlation="exchangeable"), CLASSES),
    "MixedLinear": (MixedLinear(random_slopes=["age"]), Y),
    "MixedLogit": (MixedLogit(), CLASSES),
    "BayesLogit": (BayesLogit(n_draws=200, random_state=0), CLASSES),
}
# so few draws as here are not to be believed
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
LINE = re.compile(r"(.+): (.+), \d+\.\d s")

has_callbacks = hasattr(MixedLinear(), "set_callbacks")
needs_callbacks = pytest.mark.skipif(not has_callbacks, reason="callbacks came with scikit-learn 1.9")


class Recorder:
    """A callback that writes down what it is told."""

    def __init__(self):
        self.told, self.scores, self.metadata = [], [], []

    def setup(self, estimator, context):
        self.told.append(("setup", context.task_name, context.task_id))

    def teardown(self, estimator, context):
        self.told.append(("teardown", context.task_name, context.task_id))

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None, metadata=None):
        assert X is not None and y is not None
        self.metadata.append(metadata)
        self.told.append(("begin", context.task_name, context.task_id))

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, fitted_estimator=None):
        if fitted_estimator is not None:
            self.scores.append(fitted_estimator.score(X, y))
        self.told.append(("end", context.task_name, context.task_id))

    def of(self, kind, name):
        return [number for told, task, number in self.told if told == kind and task == name]


class Deep(Recorder):
    """A recorder that a search hands to what it fits."""

    max_propagation_depth = None

    def on_fit_task_begin(self, estimator, context):
        self.told.append(("begin", context.task_name, context.task_id))

    def on_fit_task_end(self, estimator, context):
        self.told.append(("end", context.task_name, context.task_id))


@pytest.fixture(autouse=True)
def quiet():
    assert not is_shown()
    yield
    assert not is_shown()


@pytest.fixture
def impatient(monkeypatch):
    """Lines at every occasion, and not every couple of seconds."""
    monkeypatch.setattr(_progress, "_SECONDS", 0.0)


def lines(capsys):
    captured = capsys.readouterr()
    assert captured.out == ""
    return [LINE.fullmatch(line).groups() for line in captured.err.splitlines()]


# ------------------------------------------------------------------------------------------------------------- lines


def test_nothing_is_said_unless_asked_for(capsys, impatient):
    for est, y in ESTIMATORS.values():
        clone(est).fit(X, y, groups=GROUPS)
    list(tracked(range(5), "Numbers"))
    with Progress("Work", 3) as progress:
        progress.update(3)
    assert lines(capsys) == []


@pytest.mark.parametrize("name", ESTIMATORS)
def test_fits_say_how_far_they_are(name, capsys, impatient):
    est, y = ESTIMATORS[name]
    with show_progress():
        fit = clone(est).fit(X, y, groups=GROUPS)
    said = lines(capsys)
    assert {task for task, _ in said} == {name}
    *steps, last = [what for _, what in said]
    assert last == "done"
    if name == "BayesLogit":
        shares = [int(step.rstrip("%")) for step in steps if step.endswith("%")]
        assert shares and shares == sorted(shares) and shares[-1] == 100
    else:
        assert steps == [f"{k + 1} steps" for k in range(len(steps))]
        assert abs(len(steps) - fit.n_iter_) <= 2


def test_short_fits_say_nothing(capsys):
    with show_progress():
        MixedLinear().fit(X, Y, groups=GROUPS)
        list(tracked(range(5), "Numbers"))
    assert lines(capsys) == []


def test_lines_come_every_couple_of_seconds(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(_progress.time, "monotonic", lambda: now[0])
    with show_progress():
        for _ in tracked(range(10), "Numbers"):
            now[0] += 0.9
    # after 2.7, 5.4 and 8.1 seconds, and at the end
    assert lines(capsys) == [("Numbers", f"{k} of 10") for k in (3, 6, 9, 10)]


def test_at_once_or_until_the_end_of_a_block():
    show_progress()
    assert is_shown()
    with show_progress(False):
        assert not is_shown()
    assert is_shown()
    show_progress(False)
    assert not is_shown()
    with pytest.raises(RuntimeError), skdep.show_progress():
        raise RuntimeError
    assert not is_shown()


def test_what_runs_inside_a_loop_is_silent(capsys, impatient):
    with show_progress():
        for _ in tracked([1, 2], "Fits"):
            MixedLinear(random_slopes=["age"]).fit(X, Y, groups=GROUPS)
        MixedLinear(random_slopes=["age"]).fit(X, Y, groups=GROUPS)
    tasks = [task for task, _ in lines(capsys)]
    assert tasks[:2] == ["Fits", "Fits"] and set(tasks[2:]) == {"MixedLinear"}


def test_a_loop_that_fails_leaves_no_trace(capsys, impatient):
    def failing():
        for piece in tracked([1, 2], "Pieces"):
            raise ValueError(piece)

    with show_progress():
        with pytest.raises(ValueError):
            failing()
        with pytest.raises(ValueError), Progress("Work"):
            raise ValueError
        with pytest.raises(ValueError):
            MixedLinear().fit(X, Y * np.nan, groups=GROUPS)
        assert not _progress._reported.get() and _progress._listeners.get() == ()


@pytest.mark.parametrize(
    ("run", "task"),
    [
        (
            lambda: bootstrap(MixedLinear().fit(X, Y, groups=GROUPS), X, Y, groups=GROUPS, n_boot=8, random_state=0),
            "Bootstrap",
        ),
        (lambda: profile_interval(MixedLinear().fit(X, Y, groups=GROUPS)), "Profiles"),
        (
            lambda: compare_correlations(
                GEERegressor(), X, Y, groups=GROUPS, structures=["independence", "exchangeable"], cv=3
            ),
            "Folds",
        ),
        (
            lambda: compare_correlations(GEERegressor(), X, Y, groups=GROUPS, structures=["independence"]),
            "Working correlations",
        ),
        (
            lambda: weight_diagnostics(
                GEERegressor().fit(X, Y), X, Y, sample_weight=RNG.uniform(1, 2, N), tests=["permutation"]
            ),
            "Permutations",
        ),
        (lambda: BayesLogit(n_draws=200, random_state=0).fit(X, CLASSES).loo(), "Leave-one-out, blocks of rows"),
    ],
)
def test_long_functions_say_how_far_they_are(run, task, capsys, impatient):
    with show_progress():
        run()
    assert task in {said for said, _ in lines(capsys)}


def test_replicate_fits_and_chunks(capsys, impatient):
    from skdep.distributed import ArrayChunks, fit_chunks
    from skdep.survey import replicate_weights

    weights = RNG.uniform(1, 2, N)
    with show_progress():
        replicates = replicate_weights("jk1", weights, groups=GROUPS)
        LogitRegressor(weight_type="sampling").fit(X, CLASSES, sample_weight=weights, replicate_weights=replicates)
        fit_chunks(LogitRegressor(), ArrayChunks(X, CLASSES, rows=40))
    tasks = {task for task, _ in lines(capsys)}
    assert "pass 1, chunks" in tasks and "LogitRegressor" in tasks


def test_a_parameter_speaks_for_itself(capsys):
    with Progress("Work", 2, enabled=True) as progress:
        progress.update(1)
        progress.update(2, " pieces")
    assert lines(capsys) == [("Work", "2 of 2 pieces")]


def test_progress_may_be_told_by_any_thread(capsys, impatient):
    progress = Progress("Work", enabled=True)
    threads = [threading.Thread(target=progress, args=(k, 8)) for k in range(1, 9)]
    with progress:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    said = lines(capsys)
    assert sorted(what for _, what in said[:-1]) == sorted(f"{k} of 8" for k in range(1, 9))
    assert said[-1] == ("Work", "done")


# --------------------------------------------------------------------------------------------------------- listeners


class Counter:
    def __init__(self):
        self.n, self.shares = 0, []

    def advance(self):
        self.n += 1

    def reach(self, share):
        self.shares.append(share)


def test_listeners_are_told_of_steps():
    inner, outer = Counter(), Counter()
    iteration()
    with listening(outer):
        iteration()
        with listening(inner):
            iteration()
            Progress("Work")(1, 4)
        iteration()
    iteration()
    assert (outer.n, inner.n) == (3, 1)
    assert outer.shares == inner.shares == [0.25]
    elsewhere = threading.Thread(target=iteration)
    with listening(outer):
        elsewhere.start()
        elsewhere.join()
    assert outer.n == 3


def test_steps_of_a_fit():
    steps = Counter()
    with listening(steps):
        fit = LogitRegressor().fit(X, CLASSES)
    # the last step is short, and is not looked at any more
    assert steps.n == fit.n_iter_ - 1
    steps = Counter()
    with listening(steps):
        fit = MixedLogit(n_quadrature=1).fit(X, CLASSES, groups=GROUPS)
    assert steps.n >= fit.n_iter_ > 1


def test_nobody_listening_costs_next_to_nothing():
    def least(function, n=2000):
        best = np.inf
        for _ in range(5):
            begin = time.perf_counter()
            for _ in range(n):
                function()
            best = min(best, (time.perf_counter() - begin) / n)
        return best

    class Quick(LogitRegressor):
        @fit_context
        def fit(self, X, y):
            return self

    # of a fit of some milliseconds
    assert least(iteration) < 5e-6
    plain, followed = Quick.fit.__wrapped__.__wrapped__, Quick.fit.__wrapped__
    est = Quick()
    assert least(lambda: followed(est, X, Y)) - least(lambda: plain(est, X, Y)) < 2e-5


# --------------------------------------------------------------------------------------------------------- callbacks


@needs_callbacks
@pytest.mark.parametrize("name", ESTIMATORS)
def test_callbacks_see_the_fit_and_its_steps(name):
    est, y = ESTIMATORS[name]
    recorder = Recorder()
    est = clone(est)
    assert est.set_callbacks(recorder) is est
    plain = clone(ESTIMATORS[name][0]).fit(X, y, groups=GROUPS)
    est.fit(X, y, groups=GROUPS)
    np.testing.assert_array_equal(est.coef_, plain.coef_)
    assert recorder.told[0] == ("setup", "fit", 0) and recorder.told[-1] == ("teardown", "fit", 0)
    assert recorder.told[1] == ("begin", "fit", 0) and recorder.told[-2] == ("end", "fit", 0)
    begun, ended = recorder.of("begin", "step"), recorder.of("end", "step")
    assert begun == ended == list(range(len(begun)))
    if name == "BayesLogit":
        assert len(begun) == 101
    else:
        assert abs(len(begun) - 1 - est.n_iter_) <= 2
    assert recorder.scores == [est.score(X, y)]
    assert not {"_callback_fit_ctx", "_skl_callbacks_to_teardown"} & set(vars(est))


@needs_callbacks
def test_more_steps_than_max_iter_are_not_counted():
    recorder = Recorder()
    with pytest.warns(UserWarning):
        LogitRegressor(max_iter=1).set_callbacks(recorder).fit(X, CLASSES)
    assert recorder.of("begin", "step") == [0, 1]


@needs_callbacks
def test_metadata_of_callbacks():
    recorder, weights = Recorder(), np.arange(N) % 3
    LogitRegressor().set_callbacks(recorder).fit(X, CLASSES, sample_weight=weights)
    assert all(part["sample_weight"] is weights for part in recorder.metadata)
    recorder.metadata.clear()
    LogitRegressor().set_callbacks(recorder).fit(y=CLASSES, X=X)
    assert set(recorder.metadata) == {None}


@needs_callbacks
def test_callbacks_are_cloned_and_pickled_with_the_estimator():
    recorder = Recorder()
    est = MixedLinear(random_slopes=["age"]).set_callbacks(recorder)
    copy = clone(est).fit(X, Y, groups=GROUPS)
    assert recorder.of("setup", "fit") == [0]
    again = pickle.loads(pickle.dumps(copy))
    np.testing.assert_array_equal(again.predict(X), copy.predict(X))
    again.fit(X, Y, groups=GROUPS)
    (own,) = again._skl_callbacks
    assert len(own.of("setup", "fit")) == 2 and recorder.of("setup", "fit") == [0]
    est.set_callbacks()
    est.fit(X, Y, groups=GROUPS)
    assert recorder.of("setup", "fit") == [0]
    with pytest.raises(TypeError):
        est.set_callbacks("progress")


@needs_callbacks
def test_callbacks_are_put_away_after_an_error():
    recorder = Recorder()
    est = LogitRegressor().set_callbacks(recorder)
    with pytest.raises(ValueError):
        est.fit(X, Y)
    assert [told for told, *_ in recorder.told] == ["setup", "begin", "begin", "teardown"]
    est.fit(X, CLASSES)
    assert recorder.of("end", "fit") == [0]


@needs_callbacks
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_in_a_search(n_jobs):
    deep = Deep()
    search = GridSearchCV(LogitRegressor(penalty="l2"), {"C": [0.1, 1.0]}, cv=GroupKFold(3), n_jobs=n_jobs)
    with warnings.catch_warnings(), joblib.parallel_config(backend="threading"):
        warnings.simplefilter("error")  # such as that an estimator does not support callbacks
        search.set_callbacks(deep).fit(X, CLASSES, groups=GROUPS)
    assert deep.told[0][0] == "setup" and deep.told[-1][0] == "teardown"
    assert len(deep.of("setup", "fit")) == 1
    if n_jobs == 1:
        # two candidates in three folds, and the refit; none but the last has a step left open
        assert len(deep.of("begin", "step")) > 7
        assert len(deep.of("begin", "step")) == len(deep.of("end", "step"))
    assert not hasattr(search.best_estimator_, "_skl_callbacks")


@needs_callbacks
def test_in_a_pipeline():
    deep = Deep()
    pipeline = make_pipeline(StandardScaler(), MixedLinear(random_slopes=[0]))
    pipeline.set_callbacks(deep).fit(X, Y, mixedlinear__groups=GROUPS)
    assert deep.of("begin", "step") == list(range(len(deep.of("end", "step")))) != []
    assert len(deep.of("setup", "fit")) == 1


@needs_callbacks
def test_of_an_estimator_within_another():
    recorder, time_of = Recorder(), np.arange(N) // 15
    inner = GEEClassifier().set_callbacks(recorder)
    seen = (time_of < 4 + GROUPS % 3).to_numpy()
    outer = DropoutGEE(inner).fit(X[seen], CLASSES[seen], groups=GROUPS[seen], time=time_of[seen])
    assert recorder.of("setup", "fit") and np.isfinite(outer.coef_).all()


@needs_callbacks
def test_scores_are_monitored():
    from sklearn.callback import ScoringMonitor

    monitor = ScoringMonitor(scoring="r2")
    fit = MixedLinear().set_callbacks(monitor).fit(X, Y, groups=GROUPS)
    (row,) = monitor.get_logs().data
    assert row["r2"] == pytest.approx(fit.score(X, Y))


@needs_callbacks
def test_progress_bars():
    pytest.importorskip("rich")
    from sklearn.callback import ProgressBar

    est = MixedLogit().set_callbacks(ProgressBar())
    est.fit(X, CLASSES, groups=GROUPS)
    search = GridSearchCV(clone(est).set_callbacks(), {"n_quadrature": [1, 5]}, cv=2)
    search.set_callbacks(ProgressBar()).fit(X, CLASSES)
    assert pickle.loads(pickle.dumps(est)).converged_


def test_without_callbacks_in_scikit_learn():
    code = """
import sys
import numpy as np
import sklearn.linear_model, sklearn.metrics, sklearn.model_selection, sklearn.pipeline
sys.modules["sklearn.callback"] = None  # as if it were not there
from skdep import LogitRegressor, show_progress
est = LogitRegressor()
assert not hasattr(est, "set_callbacks")
with show_progress():
    est.fit(np.arange(6.0)[:, None], [0, 0, 1, 0, 1, 1])
print(est.converged_)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True"]
