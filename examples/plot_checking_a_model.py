"""
Checking a model by its residuals, and mending it
=================================================

A model that is wrong about the form of an effect converges like any other, and its table looks as well. Residuals tell.
This example checks two models that look innocent: a logistic one of high cholesterol, straight in age, and a linear
mixed model of the weight of pigs, straight in time. Both are wrong, and each mistake would have led to a wrong
decision: about whom to screen, and about when to sell.
"""

import sys
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skdep import LogitRegressor, MixedLinear
from skdep.datasets import load_dietox, load_nhanes
from skdep.inference import coef_table, lrt
from skdep.plotting import BinnedResidualsDisplay, QQDisplay, ResidualsDisplay

# %%
# A logistic model, straight in age
# ---------------------------------
# A survey of the United States, with its weights and design. Ages are known in four classes, and enter by a middle age
# of each, in decades from 40 years.
nhanes = load_nhanes()
MIDDLE = {"(0,19]": 14.0, "(19,39]": 30.0, "(39,59]": 50.0, "(59,Inf]": 70.0}
people = pd.DataFrame(
    {
        "decades": (nhanes.data["agecat"].map(MIDDLE).astype(float) - 40) / 10,
        "woman": (nhanes.data["RIAGENDR"] == "2").astype(float),
    }
)
weights = {"sample_weight": nhanes.sample_weight, "groups": nhanes.groups}


def straight(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the features of the first model."""
    return rows


def curved(rows: pd.DataFrame) -> pd.DataFrame:
    """Return them with the square of age."""
    return rows.assign(squared=rows["decades"] ** 2)


def mended(rows: pd.DataFrame) -> pd.DataFrame:
    """Return them with the square of age, and age by sex."""
    return curved(rows).assign(woman_decades=rows["woman"] * rows["decades"])


models = {
    form: LogitRegressor(weight_type="sampling").fit(form(people), nhanes.target, strata=nhanes.strata, **weights)
    for form in (straight, curved, mended)
}
print(coef_table(models[straight])[["estimate", "std_error", "p_value"]].astype(float).round(4).to_string())

# %%
# Every p-value of this table is below 0.05, and nothing warns. A single binary residual shows nothing either. The mean
# of many does, beside the band that a right model keeps to: against age the straight model is too high at both ends.
# With the square of age these means are in order; but against the *fitted* probability the curved model still leaves
# the band, where men and women age differently. The third one keeps to it.
outside = {}
for form, feature in [(straight, "decades"), (curved, "decades"), (curved, None), (mended, None)]:
    seen = BinnedResidualsDisplay.from_estimator(
        models[form], form(people), nhanes.target, feature=feature, n_bins=4 if feature else None, **weights
    )
    plt.close(seen.figure_)
    beyond = np.abs(seen.mean_residual) > 2 * seen.std_error
    outside[form.__name__, feature or "fitted"] = f"{beyond.sum()} of {len(beyond)}"
print(pd.Series(outside, name="bins outside of the band").to_string())

# %%
# A linear mixed model, straight in time
# --------------------------------------
# Weekly weights of 72 pigs. Each has a level and a growth of its own; the form of the growth is common. Residuals are
# conditional: from each pig's own line.
pigs = load_dietox()
weeks = pigs.data[["Time"]].rename(columns={"Time": "week"}).astype(float)


def with_cubic(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the week with its square and cube, from the middle of the experiment."""
    middle = rows["week"] - 6.5
    return rows.assign(squared=middle**2, cubed=middle**3)


growth = {
    name: MixedLinear(random_slopes=["week"], method="ml").fit(features, pigs.target, groups=pigs.groups)
    for name, features in {"straight": weeks, "curved": with_cubic(weeks)}.items()
}
test = lrt(growth["straight"], growth["curved"])
print(test)

# %%
# Before and after
# ----------------
# Above the people, below the pigs. The quantiles of the pigs' residuals are normal in the middle, while a few weighings
# are farther out than they should be: that does no harm to means, but intervals for single weighings are too narrow,
# and the table below has robust standard errors.
figure, panels = plt.subplots(2, 3, figsize=(10, 6.8), layout="constrained")
for axes, (form, feature, label, title) in zip(
    panels[0],
    [
        (straight, "decades", "age (decades from 40 years)", "People: straight in age"),
        (curved, None, "fitted probability", "Better: age squared"),
        (mended, None, "fitted probability", "Mended: age by sex"),
    ],
):
    BinnedResidualsDisplay.from_estimator(
        models[form], form(people), nhanes.target, feature=feature, n_bins=4 if feature else None, ax=axes, **weights
    )
    axes.set(xlabel=label, ylabel="mean residual", ylim=(-0.085, 0.085), title=title)
for axes, model, features, title in zip(
    panels[1], growth.values(), [weeks, with_cubic(weeks)], ["Pigs: straight in time", "Mended: cubic"]
):
    ResidualsDisplay.from_estimator(
        model, features, pigs.target, groups=pigs.groups, feature="week", ax=axes, scatter_kwargs={"s": 6}
    )
    axes.set(xlabel="week", ylabel="residual (kg)", ylim=(-13, 13), xticks=range(1, 13, 2), title=title)
QQDisplay.from_estimator(
    growth["curved"],
    with_cubic(weeks),
    pigs.target,
    groups=pigs.groups,
    ax=panels[1, 2],
    point_kwargs={"markersize": 3},
)
panels[1, 2].set(ylabel="standardised residual", title="Mended: quantiles")
panels[1, 2].legend(frameon=False, loc="lower right", fontsize=9)
for axes in panels.flat:
    axes.spines[["top", "right"]].set_visible(False)
if sys.argv[1:]:
    figure.savefig(sys.argv[1], dpi=150)
else:
    plt.show()

# %%
# Decide
# ------
# A screening is worth its cost where one in eight is affected. Pigs past the fifth week are fed for as long as another
# week brings more than 6.9 kg, which pays for feed and place.
THRESHOLD, PAYS = 0.125, 6.9
groups = pd.DataFrame(
    {"decades": [-1.0, -1.0, 1.0, 1.0, 3.0, 3.0], "woman": [0.0, 1.0] * 3},
    index=[f"{sex} {age}" for age in ("20 to 39", "40 to 59", "60 and over") for sex in ("men", "women")],
)
risk = pd.DataFrame(
    {form.__name__: models[form].predict_proba(form(groups))[:, 1] for form in models}, index=groups.index
)
print((100 * risk).round(1).to_string(), "\n")
screened = {form: set(risk.index[risk[form] > THRESHOLD]) for form in risk}
week = pd.DataFrame({"week": np.arange(5.0, 13.0)})
gain = pd.DataFrame(
    {
        "straight": np.diff(growth["straight"].predict(week)),
        "curved": np.diff(growth["curved"].predict(with_cubic(week))),
    },
    index=pd.Index(week["week"].astype(int)[:-1], name="from week"),
)
print(gain.round(2).T.to_string())
print(coef_table(growth["curved"], cov_type="robust")[["estimate", "std_error", "p_value"]].round(4).to_string())
pays = {name: gains.index[gains > PAYS] for name, gains in gain.items()}
sale = {
    name: "not within the experiment" if len(weeks_that_pay) == len(gain) else f"in week {weeks_that_pay.max() + 1}"
    for name, weeks_that_pay in pays.items()
}
ordered = [group for group in risk.index if group in screened["mended"]]
wrong = sorted(screened["straight"] - screened["mended"])
decision = (
    f"Decision: mend both. People: screen {', '.join(ordered)}, where more than one in eight has high cholesterol. "
    f"The straight model would have screened {' and '.join(wrong) or 'nobody'} too, whom it gives "
    f"{100 * risk.loc[wrong[0], 'straight']:.0f}% instead of {100 * risk.loc[wrong[0], 'mended']:.0f}%. Pigs: sell "
    f"{sale['curved']}; by the straight line, {sale['straight']}, since it brings {gain['straight'].iloc[0]:.2f} kg "
    "in every week."
)
print(fill(decision, width=100))
