"""
No, partial or complete pooling? Forecasts for drivers known for a few nights
=============================================================================

Eighteen drivers slept three hours a night. Suppose that they began on different days, so that today some are known for
two nights and some for six, and that everybody's last two nights are to be forecast. Three ways: each driver by a line
of their own (no pooling), all drivers by one line (complete pooling), or by a multilevel model, whose lines are drawn
towards that of the population, the more the less is known of the driver (partial pooling, or shrinkage). The nights
that were held out say which of them to use.
"""

import sys
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skdep import MixedLinear
from skdep.datasets import load_sleepstudy
from skdep.plotting import ShrinkageDisplay

# Okabe and Ito: told apart by colour-blind readers, and each kind has a marker and a line style of its own
STYLES = {"no": ("#777777", "s", ":"), "partial": ("#0072B2", "o", "-"), "complete": ("#009E73", "x", "--")}
FEWEST, MOST, HELD_OUT = 2, 6, (6, 7)  # nights
TOO_SLOW = 350.0  # ms: who is slower is taken off the road

# %%
# Data: days 0 and 1 were for training, day 2 was the baseline
# ------------------------------------------------------------
# From then on nights are counted, and the last two are held out for everybody.
sleep = load_sleepstudy()
later = sleep.data["Days"] >= 2
X = sleep.data[later].rename(columns={"Days": "nights"}) - 2.0
y, driver = sleep.target[later], sleep.groups[later]
drivers = np.unique(driver)
held_out = X["nights"].isin(HELD_OUT).to_numpy()


def own_line(rows: np.ndarray) -> pd.DataFrame:
    """Return level and growth of each driver, by least squares in their own rows."""
    lines = {
        label: np.polyfit(X.loc[rows & (driver == label), "nights"], y[rows & (driver == label)], 1)[::-1]
        for label in drivers
    }
    return pd.DataFrame(lines, index=["level", "growth"]).T


# %%
# Three forecasts of the last two nights
# --------------------------------------
# Five times, so that every driver is once known for two nights, once for three, and so on to six. A mixed model fitted
# without groups is ordinary regression.
forecasts = []
for turn in range(MOST - FEWEST + 1):
    nights_known = pd.Series(FEWEST + (np.arange(len(drivers)) + turn) % (MOST - FEWEST + 1), index=drivers)
    known = (X["nights"] < driver.map(nights_known).astype(float)).to_numpy()
    lines = own_line(known)
    multilevel = MixedLinear(random_slopes=["nights"]).fit(X[known], y[known], groups=driver[known])
    everybody = MixedLinear().fit(X[known], y[known])
    own = lines.loc[driver[held_out]].to_numpy()
    forecasts.append(
        pd.DataFrame(
            {
                "nights known": driver[held_out].map(nights_known).to_numpy(),
                "seen": y[held_out].to_numpy(),
                "no": own[:, 0] + own[:, 1] * X.loc[held_out, "nights"].to_numpy(),
                "partial": multilevel.predict(X[held_out], groups=driver[held_out]),
                "complete": everybody.predict(X[held_out]),
            }
        )
    )
forecasts = pd.concat(forecasts, ignore_index=True)
error = forecasts[list(STYLES)].sub(forecasts["seen"], axis=0)
by_nights = np.sqrt((error**2).groupby(forecasts["nights known"]).mean())
overall = np.sqrt((error**2).mean())
wrong = (forecasts[list(STYLES)] > TOO_SLOW).ne(forecasts["seen"] > TOO_SLOW, axis=0).mean()
print("Error of the forecasts (root mean square, ms)\n")
print(pd.concat([by_nights, overall.to_frame("all").T]).round(1).to_string(), "\n")
print(f"Drivers wrongly called slower or faster than {TOO_SLOW:.0f} ms\n{(100 * wrong).round(1).to_string()}")

# %%
# Shrinkage, and what it is good for
# ----------------------------------
# ``ShrinkageDisplay`` leads from each driver's own line to the one in the multilevel model (last turn; larger marks:
# known for more nights). Long arrows belong to drivers known for few nights, and to those far from the rest.
figure, (plane, errors) = plt.subplots(1, 2, figsize=(9, 4.6), layout="constrained", width_ratios=[1.25, 1])
ShrinkageDisplay.from_estimator(multilevel, X[known], y[known], groups=driver[known], ax=plane)
plane.set(xlabel="level: reaction when rested (ms)", ylabel="growth (ms a night)")
for name, (colour, marker, line) in STYLES.items():
    errors.plot(by_nights.index, by_nights[name], color=colour, marker=marker, linestyle=line, label=f"{name} pooling")
errors.set(
    xticks=by_nights.index,
    ylim=(0, None),
    xlabel="nights known of the driver",
    ylabel="error of the forecast (root mean square, ms)",
    title="The last two nights, held out",
)
errors.legend(frameon=False, loc="lower left")
for axes in (plane, errors):
    axes.spines[["top", "right"]].set_visible(False)
if sys.argv[1:]:
    figure.savefig(sys.argv[1], dpi=150)
else:
    plt.show()

# %%
# Decide
# ------
# By the forecasts of all turns; and how often a driver is wrongly taken off the road, or left on it.
best = overall.idxmin()
always = (by_nights.idxmin(axis=1) == best).all()
pays = [str(nights) for nights in by_nights.index[by_nights["no"] < by_nights["complete"]]]
decision = (
    f"Decision: forecast by {best} pooling, whose error is {overall[best]:.0f} ms against {overall['no']:.0f} ms by "
    f"each driver's own line and {overall['complete']:.0f} ms by one line for all; it is least "
    f"{'for every number of nights known' if always else 'on the whole'}. A driver's own line, with "
    f"{by_nights['no'].iloc[0]:.0f} ms after {FEWEST} nights, beats knowing nothing of the driver "
    f"{'with ' + ' or '.join(pays) + ' nights' if pays else 'never'}. Of the decisions to take a driver off the road "
    f"above {TOO_SLOW:.0f} ms {100 * wrong[best]:.0f}% are then wrong; they would be {100 * wrong['no']:.0f}% by own "
    f"lines and {100 * wrong['complete']:.0f}% by one line."
)
print(fill(decision, width=100))
