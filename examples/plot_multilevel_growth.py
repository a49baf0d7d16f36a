"""
How long may drivers go without sleep? Growth curves of eighteen drivers
========================================================================

Eighteen drivers slept three hours a night, and their reaction time was measured daily. Every driver has a level and a
growth of their own. Does the growth really differ between drivers? Does the level when rested tell who will suffer? How
well is a new driver predicted, and how well another day of a known one? In the end a schedule is decided on.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np
from scipy import stats
from sklearn import config_context
from sklearn.model_selection import GroupKFold, KFold, cross_validate

from skdep import MixedLinear
from skdep.datasets import load_sleepstudy
from skdep.inference import coef_table, lrt, variance_components

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#777777"  # Okabe and Ito: told apart by colour-blind readers
TOO_SLOW = 350.0  # ms: a reaction that costs another two metres at 90 km/h, against the rested average

# %%
# Data: the first two days were for training, the third was the baseline
# ----------------------------------------------------------------------
# Nights of short sleep are counted from the baseline, and the days from there on are modelled.
# The mean of the two rested days becomes a feature of the driver, constant within the cluster.
sleep = load_sleepstudy()
later = sleep.data["Days"] >= 2
driver, y = sleep.groups[later], sleep.target[later]
rested = sleep.target[~later].groupby(sleep.groups[~later]).mean()
X = sleep.data[later].rename(columns={"Days": "nights"}) - 2
X["rested"] = driver.map(rested) - rested.mean()

# %%
# Growth per driver: random intercepts, then random slopes
# --------------------------------------------------------
# The likelihood ratio test compares the two. A variance under test lies on the boundary of what is possible, so the
# reference is a mixture of chi-squares.
intercepts = MixedLinear().fit(X[["nights"]], y, groups=driver)
growth = MixedLinear(random_slopes=["nights"]).fit(X[["nights"]], y, groups=driver)
print(growth.summary(), "\n")
slopes_vary = lrt(intercepts, growth)
print(slopes_vary, "\n")

# %%
# What does the rested reaction, a predictor of the driver, explain?
# ------------------------------------------------------------------
# ``variance_components`` sets the variances between drivers beside those of the model without the feature.
with_rested = MixedLinear(random_slopes=["nights"]).fit(X, y, groups=driver)
print(coef_table(with_rested)[["estimate", "std_error", "df", "p_value"]].round(4), "\n")
explained = variance_components(with_rested, baseline=growth).to_frame()["explained"]
print(f"{explained.round(2).to_string()}\n")

# %%
# New drivers, or other days of known ones?
# -----------------------------------------
# The model's own score sees the groups: known drivers are predicted by their own line, new ones by the population's. A
# scorer given by name would predict everybody by the population's.
scores = {}
models = {"level per driver": MixedLinear(), "level and growth per driver": MixedLinear(random_slopes=["nights"])}
splits = {"new drivers": GroupKFold(6), "known drivers": KFold(6, shuffle=True, random_state=0)}
with config_context(enable_metadata_routing=True):
    for kind, split in splits.items():
        for name, model in models.items():
            found = cross_validate(model, X[["nights"]], y, cv=split, params={"groups": driver})
            scores[kind, name] = found["test_score"].mean()
for (kind, name), score in scores.items():
    print(f"held-out R2, {kind}, {name}: {score:.2f}")

# %%
# Every driver's line, and the chance that a driver is too slow
# -------------------------------------------------------------
# At the right is a driver of whom nothing is known: the standard deviation is that of a new driver's mean, which has
# the variance between drivers in it.
nights = np.arange(0, 8)
table = X.iloc[: len(nights)].assign(nights=nights)[["nights"]]
mean, sd = growth.predict(table, groups=[-1] * len(nights), return_std=True)  # a driver not seen yet
too_slow = stats.norm.sf(TOO_SLOW, mean, sd)

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.5), layout="constrained")
for label in growth.levels_["Subject"]:
    left.plot(nights, growth.predict(table, groups=[label] * len(nights)), color=BLUE, alpha=0.5, linewidth=1)
left.plot(X["nights"], y, ".", color=GREY, markersize=4, label="measurements")
left.plot([], [], color=BLUE, alpha=0.5, linewidth=1, label="predicted line of each driver")
left.plot(nights, mean, color=ORANGE, linewidth=3, label="population")
left.axhline(TOO_SLOW, color=GREY, linestyle="--", linewidth=1)
left.set(xlabel="nights of three hours' sleep", ylabel="reaction time (ms)", title="Eighteen drivers", ylim=(190, 530))
left.legend(frameon=False, loc="upper left")
right.plot(nights, 100 * too_slow, "o-", color=ORANGE)
right.axhline(20, color=GREY, linestyle="--", linewidth=1)
right.set(
    xlabel="nights of three hours' sleep",
    ylabel=f"chance of a mean reaction above {TOO_SLOW:.0f} ms (%)",
    title="A driver not seen yet",
    ylim=(0, 100),
)
for axis in (left, right):
    axis.spines[["top", "right"]].set_visible(False)
if sys.argv[1:]:
    figure.savefig(sys.argv[1], dpi=150)
else:
    plt.show()

# %%
# Decide
# ------
# No more than one driver in five may be too slow.
most = int(nights[too_slow <= 0.2].max())
spread = np.sqrt(growth.random_covariance_["Subject"][1, 1])
vary = "differs" if slopes_vary.p_value < 0.05 else "may be the same"
known, new = (scores[kind, "level and growth per driver"] for kind in ("known drivers", "new drivers"))
of_new = f"{new:.0%}" if new > 0 else "none"
by_rested = max(explained.iloc[1], 0)
slope = f"{growth.coef_[0]:.1f} ms a night, standard deviation {spread:.1f}"
print(
    f"Decision: the growth {vary} between drivers (p = {slopes_vary.p_value:.2g}; {slope}),\n"
    f"and the rested reaction explains {by_rested:.0%} of that: nobody can be cleared by a test beforehand.\n"
    f"Drivers not yet known may have {most} short nights, so that no more than one in five is slower than "
    f"{TOO_SLOW:.0f} ms.\nThen measure: of other days of known drivers {known:.0%} of the variance is predicted, of "
    f"new drivers {of_new}."
)
