"""
Which score to believe? A pipeline, and folds that keep patients whole
======================================================================

A pipeline encodes the categories of a trial, bends the effect of age by a spline, may let all effects interact, and
fits a logistic regression; a grid search chooses how flexible it is to be. There are four visits of each of 111
patients. Folds of *rows* put visits of one patient into training and test data, and a flexible model then recognises
patients by their age, center, sex and treatment. The search likes that. Patients whom it never saw say what came of it.
"""

import sys
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.feature_selection import VarianceThreshold
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, PolynomialFeatures, SplineTransformer

from skdep import LogitRegressor
from skdep.datasets import load_respiratory
from skdep.inference import coef_table

# Okabe and Ito: told apart by colour-blind readers
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#777777"
N_FOLDS, N_OUTER = 4, 4
KNOTS = [2, 3, 12]

# %%
# The pipeline
# ------------
# A ``ColumnTransformer`` treats categories and age each in its way. In a fold a combination of categories may be
# missing, and its column constant: ``VarianceThreshold`` drops it.
trial = load_respiratory()
X, good, patient = trial.data, trial.target, trial.groups
encode = ColumnTransformer(
    [
        ("categories", OneHotEncoder(drop="first", sparse_output=False), ["center", "treat", "sex"]),
        ("age", SplineTransformer(degree=1, extrapolation="constant", include_bias=False), ["age"]),
    ],
    remainder="passthrough",
    verbose_feature_names_out=False,
)
pipeline = Pipeline(
    [
        ("encode", encode),
        ("interact", PolynomialFeatures(interaction_only=True, include_bias=False)),
        ("drop_constant", VarianceThreshold()),
        ("logit", LogitRegressor(penalty="l2", C=10.0, cov_type="model")),
    ]
)
grid = {"encode__age__n_knots": KNOTS, "interact__degree": [1, 2]}

# %%
# Two searches, and patients whom neither of them saw
# ---------------------------------------------------
# Four times a quarter of the patients is put aside. Among the others one search takes folds of rows, the other one
# folds of patients. Both then predict the patients put aside. With metadata routing ``groups`` reach splitter and
# model without further requests; beware that a splitter of rows ignores them without a word.
splitters = {
    "rows": KFold(N_FOLDS, shuffle=True, random_state=0),
    "patients": GroupKFold(N_FOLDS, shuffle=True, random_state=0),
}
found = []
with config_context(enable_metadata_routing=True):
    for train, aside in GroupKFold(N_OUTER, shuffle=True, random_state=0).split(X, good, patient):
        for folds, splitter in splitters.items():
            search = GridSearchCV(pipeline, grid, scoring="neg_log_loss", cv=splitter)
            search.fit(X.iloc[train], good.iloc[train], groups=patient.iloc[train])
            table = pd.DataFrame(search.cv_results_["params"])
            table["promised"] = -search.cv_results_["mean_test_score"]
            table["folds"], table["chosen"] = folds, search.cv_results_["rank_test_score"] == 1
            kept = log_loss(good.iloc[aside], search.predict_proba(X.iloc[aside]))
            table["kept"] = np.where(table["chosen"], kept, np.nan)
            found.append(table)
found = pd.concat(found, ignore_index=True).rename(
    columns={"encode__age__n_knots": "knots", "interact__degree": "degree"}
)
print(found[found["chosen"]].drop(columns="chosen").set_index("folds").sort_index().round(3).to_string())

# %%
# What was promised, and what was kept
# ------------------------------------
# A model that knows nothing and says one half of everybody has a log-loss of 0.69.
promised = found.groupby(["folds", "degree", "knots"])["promised"].mean()
winner = found[found["chosen"]].groupby("folds")[["promised", "kept"]].mean()
coin = np.log(2)

figure, (curves, bars) = plt.subplots(1, 2, figsize=(9, 4.5), layout="constrained", sharey=True, width_ratios=[1.35, 1])
for folds, colour, marker in [("rows", ORANGE, "s"), ("patients", BLUE, "o")]:
    for degree, line in [(1, "-"), (2, "--")]:
        label = f"folds of {folds}{', interactions' if degree == 2 else ''}"
        curves.plot(KNOTS, promised[folds, degree], color=colour, marker=marker, linestyle=line, label=label)
curves.set(
    xscale="log",
    xlabel="knots of the spline of age",
    ylabel="log-loss (smaller is better)",
    title="What the folds promise",
)
curves.set_xticks(KNOTS, labels=[str(knots) for knots in KNOTS])
curves.minorticks_off()
curves.legend(frameon=False, loc="upper left", fontsize=9)
for place, (folds, colour, marker) in enumerate([("rows", ORANGE, "s"), ("patients", BLUE, "o")]):
    bars.annotate(
        "",
        (place, winner.loc[folds, "kept"]),
        xytext=(place, winner.loc[folds, "promised"]),
        arrowprops={"arrowstyle": "->", "color": colour, "linewidth": 2, "shrinkA": 5, "shrinkB": 0},
    )
    bars.plot(place, winner.loc[folds, "promised"], marker, color=colour, markersize=8)
    bars.text(place + 0.08, winner.loc[folds, "promised"], "promised", va="center")
    bars.text(place + 0.08, winner.loc[folds, "kept"], "kept", va="center")
for axes in (curves, bars):
    axes.axhline(coin, color=GREY, linewidth=1, linestyle=":")
    axes.spines[["top", "right"]].set_visible(False)
bars.text(0.5, coin + 0.005, "a coin", color=GREY, ha="center", va="bottom")
bars.set_xticks([0, 1], ["chosen by\nfolds of rows", "chosen by\nfolds of patients"])
bars.set(xlim=(-0.4, 1.6), title="Patients never seen")
if sys.argv[1:]:
    figure.savefig(sys.argv[1], dpi=150)
else:
    plt.show()

# %%
# Decide
# ------
# Believe the folds whose promise was kept, search once more in all patients with them, and read the effects from the
# cluster-robust table of a fit without penalty: a ridge is for prediction.
broken = (winner["kept"] - winner["promised"]).abs()
believe = broken.idxmin()
with config_context(enable_metadata_routing=True):
    final = GridSearchCV(pipeline, grid, scoring="neg_log_loss", cv=splitters[believe])
    final.fit(X, good, groups=patient)
    report = clone(final.best_estimator_).set_params(logit__penalty=None, logit__cov_type="cluster")
    report.set_output(transform="pandas").fit(X, good, groups=patient)
print(coef_table(report)[["estimate", "std_error", "p_value"]].astype(float).round(3).to_string())
other = "rows" if believe == "patients" else "patients"
decision = (
    f"Decision: believe the folds of {believe}. Theirs promised a log-loss of {winner.loc[believe, 'promised']:.2f} "
    f"and new patients gave {winner.loc[believe, 'kept']:.2f}; folds of {other} promised "
    f"{winner.loc[other, 'promised']:.2f} and new patients gave "
    f"{winner.loc[other, 'kept']:.2f}{', worse than a coin' if winner.loc[other, 'kept'] > coin else ''}. The score "
    f"is not only too good, it chooses the wrong model. In all patients folds of {believe} choose "
    f"{final.best_params_['encode__age__n_knots']} knots "
    f"{'without' if final.best_params_['interact__degree'] == 1 else 'with'} interactions; expect "
    f"{-final.best_score_:.2f} of it."
)
print(fill(decision, width=100))
