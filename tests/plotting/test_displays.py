"""What holds of every display: no matplotlib until it is needed, and documents that are complete."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import skdep.plotting
from skdep import BayesLogit, GEERegressor, MixedLinear
from skdep.plotting import (
    BinnedResidualsDisplay,
    CalibrationDisplay,
    CaterpillarDisplay,
    CoefficientsDisplay,
    FittedLinesDisplay,
    InfluenceDisplay,
    PartialResidualsDisplay,
    PosteriorDisplay,
    QQDisplay,
    ResidualsDisplay,
    ShrinkageDisplay,
    TraceDisplay,
    UpdatingDisplay,
    WeightsDisplay,
    WorkingCorrelationDisplay,
)

OF_POSTERIORS = [TraceDisplay, PosteriorDisplay, UpdatingDisplay]
OF_MARGINAL_MODELS = [BinnedResidualsDisplay, InfluenceDisplay, WorkingCorrelationDisplay]
CLASSES = [getattr(skdep.plotting, name) for name in skdep.plotting.__all__]
# likewise in the tests of the estimators: what numpydoc's own rules ask for beyond those of ruff
IGNORED = {"EX01", "ES01", "SA01", "GL01", "RT02"}


def makers(cls: type) -> list[str]:
    """Return the names of the classmethods that make a display."""
    return [name for name in vars(cls) if name.startswith("from_")]


DOCUMENTED = [
    f"{cls.__module__}.{cls.__name__}{suffix}"
    for cls in CLASSES
    for suffix in ("", ".plot", *(f".{name}" for name in makers(cls)))
]


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda data, model: CaterpillarDisplay.from_estimator(model), "CaterpillarDisplay.from_estimator"),
        (lambda data, model: QQDisplay.from_random_effects(model), "QQDisplay.from_random_effects"),
        (lambda data, model: QQDisplay.from_values([1.0, 2.0, 3.0]), "QQDisplay.from_values"),
        (lambda data, model: QQDisplay.from_estimator(model, *data), "QQDisplay.from_estimator"),
        (lambda data, model: ResidualsDisplay.from_estimator(model, *data), "ResidualsDisplay.from_estimator"),
        (
            lambda data, model: FittedLinesDisplay.from_estimator(model, *data, groups=[0, 0, 1, 1, 2, 2]),
            "FittedLinesDisplay.from_estimator",
        ),
        (lambda data, model: TraceDisplay.from_estimator(model), "TraceDisplay.from_estimator"),
        (lambda data, model: PosteriorDisplay.from_estimator(model), "PosteriorDisplay.from_estimator"),
        (lambda data, model: UpdatingDisplay.from_estimator(model), "UpdatingDisplay.from_estimator"),
        (
            lambda data, model: WeightsDisplay.from_estimator(model, *data, sample_weight=[1, 2, 1, 2, 3, 1]),
            "WeightsDisplay.from_estimator",
        ),
        (lambda data, model: ResidualsDisplay(fitted=data[1], residuals=data[1]).plot(), "ResidualsDisplay.plot"),
        (
            lambda data, model: BinnedResidualsDisplay.from_estimator(model, *data),
            "BinnedResidualsDisplay.from_estimator",
        ),
        (lambda data, model: InfluenceDisplay.from_estimator(model, *data), "InfluenceDisplay.from_estimator"),
        (
            lambda data, model: InfluenceDisplay(labels=data[1], values=data[1]).plot(),
            "InfluenceDisplay.plot",
        ),
        (lambda data, model: CalibrationDisplay.from_estimator(model, *data), "CalibrationDisplay.from_estimator"),
        (lambda data, model: CalibrationDisplay.from_predictions(*data[::-1]), "CalibrationDisplay.from_predictions"),
        (lambda data, model: CoefficientsDisplay.from_estimator(model), "CoefficientsDisplay.from_estimator"),
        (lambda data, model: CoefficientsDisplay.from_estimators([model]), "CoefficientsDisplay.from_estimators"),
        (lambda data, model: CoefficientsDisplay.from_tables([]), "CoefficientsDisplay.from_tables"),
        (
            lambda data, model: PartialResidualsDisplay.from_estimator(model, *data),
            "PartialResidualsDisplay.from_estimator",
        ),
        (
            lambda data, model: ShrinkageDisplay.from_estimator(model, *data, groups=[0, 0, 1, 1, 2, 2]),
            "ShrinkageDisplay.from_estimator",
        ),
        (
            lambda data, model: WorkingCorrelationDisplay.from_estimator(model, *data, groups=None),
            "WorkingCorrelationDisplay.from_estimator",
        ),
    ],
)
def test_without_matplotlib_the_error_names_the_extra(monkeypatch, call, name):
    X, y = [[0.0], [1.0], [2.0], [3.0], [4.0], [6.0]], [1.0, 2.0, 2.5, 4.5, 3.0, 5.5]
    model = MixedLinear().fit(X, y, groups=[0, 0, 1, 1, 2, 2])
    for module in [module for module in sys.modules if module.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=rf"^{name} draws with matplotlib.*pip install 'skdep\[plot\]'"):
        call((X, y), model)


def test_import_does_not_load_matplotlib():
    root = Path(skdep.plotting.__file__).parents[2]
    code = "import sys, skdep.plotting; print('matplotlib' in sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, cwd=root)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_parameters_are_stored_as_they_come(cls):
    values = {name: object() for name in inspect.signature(cls).parameters}
    assert vars(cls(**values)) == values


@pytest.mark.parametrize("name", DOCUMENTED)
def test_documents(name):
    validate = pytest.importorskip("numpydoc.validate").validate
    errors = [error for error in validate(name)["errors"] if error[0] not in IGNORED]
    assert not errors


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_attributes_are_those_that_are_documented(cls, schools):
    pytest.importorskip("matplotlib", reason="needs the extra: pip install 'skdep[plot]'")
    docscrape = pytest.importorskip("numpydoc.docscrape")
    rows = (
        {}
        if cls in (CaterpillarDisplay, CoefficientsDisplay)
        else {"X": schools.X, "y": schools.y, "groups": schools.groups}
    )
    if cls is FittedLinesDisplay:
        rows["feature"] = "age"
    if cls is WeightsDisplay:
        rows |= {"sample_weight": 1.0 + schools.X["age"], "trim": ()}
    model = schools.model
    if cls in OF_POSTERIORS:
        model, rows = BayesLogit(n_draws=400, random_state=0).fit([[0.0], [1.0], [2.0], [3.0]], [0, 1, 0, 1]), {}
    if cls in OF_MARGINAL_MODELS:
        model = GEERegressor().fit(**rows)
    display = cls.from_estimator(model, **rows)
    documented = {name.strip() for part in docscrape.ClassDoc(cls)["Attributes"] for name in part.name.split(",")}
    assert {name for name in vars(display) if name.endswith("_")} == documented


def test_displays_pickle(sleep):
    pytest.importorskip("matplotlib", reason="needs the extra: pip install 'skdep[plot]'")
    display = CaterpillarDisplay.from_estimator(sleep.model)
    again = pickle.loads(pickle.dumps(display))
    assert (again.effects == display.effects).all()
