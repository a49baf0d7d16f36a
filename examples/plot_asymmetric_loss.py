"""
A decision under asymmetric loss: whom to see before the last visit
===================================================================

Patients of a trial were seen at three visits, and their respiratory status was judged. A nurse may see each of them
once more before the fourth visit. A nurse's visit costs 1; a patient in poor status whom nobody saw costs 5. To call
everybody with a probability above one half, as ``predict`` does, takes both errors for equally bad. The posterior and
the losses together say whom to call; the fourth visit, which was held out, says what each rule would have cost.
"""

import sys
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skdep import BayesLogit
from skdep.bayes import probability_threshold
from skdep.datasets import load_respiratory

# Okabe and Ito: told apart by colour-blind readers
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"

# %%
# Belief after three visits
# -------------------------
# The outcome is a poor status. With ``groups`` each patient has a level of their own, and three visits tell much of it.
trial = load_respiratory()
X = pd.DataFrame(
    {
        "active": trial.data["treat"] == "A",
        "good_before": trial.data["baseline"],
        "center_2": trial.data["center"] == 2,
        "decades": (trial.data["age"] - trial.data["age"].mean()) / 10,
        "visit": trial.time,
    }
).astype(float)
poor = (1 - trial.target).rename("poor")
patient, seen = trial.groups, trial.time < 4
model = BayesLogit(random_state=0).fit(X[seen], poor[seen], groups=patient[seen])
print(model.posterior_table().round(2).to_string())

# %%
# Losses
# ------
# A row for each action, a column for each class. With these losses a visit pays above a probability of 1/5, far below
# the half at which ``predict`` changes its mind.
VISIT, MISSED, PHONE = 1.0, 5.0, 0.3
loss = pd.DataFrame({0: [0.0, VISIT], 1: [MISSED, VISIT]}, index=["wait", "see"])
threshold = probability_threshold(loss.to_numpy())
last = trial.time == 4
X_last, at_last, truth = X[last], patient[last], poor[last].to_numpy()
decision_by_loss = model.decision(X_last, loss, groups=at_last)
print(f"see whoever is in poor status with a probability above {threshold:.3f}\n")
print(decision_by_loss)

# %%
# What each rule would have cost at the fourth visit
# --------------------------------------------------
# The fourth visit was in no fit. Each rule is judged by what it would have cost there, for many prices of a miss.
probability = model.predict_proba(X_last, groups=at_last)[:, 1]
ratios = np.arange(1, 21)


def cost(see: np.ndarray, missed: float) -> float:
    """Return the loss per patient at the fourth visit, as it came out."""
    return float(np.where(see, VISIT, missed * truth).mean())


rules = pd.DataFrame(
    {
        "least expected loss": [cost(probability > VISIT / missed, missed) for missed in ratios],
        "probability above 1/2": [cost(probability > 0.5, missed) for missed in ratios],
        "see everybody": [cost(np.full(len(truth), True), missed) for missed in ratios],
        "see nobody": [cost(np.full(len(truth), False), missed) for missed in ratios],
    },
    index=ratios,
)
print(rules.loc[[1, 2, 5, 10, 20]].rename_axis("a missed patient costs").round(2).to_string())

# %%
# Know more before deciding?
# --------------------------
# A phone call costs 0.3 and settles how the patient is. It is worth its price for patients whose ``evpi_outcome``,
# the expected value of knowing the outcome, is above it: those near the threshold. To know the *parameters* exactly,
# the most that a larger trial could do, is worth less.
grid = np.linspace(0, 1, 501)
phoned = decision_by_loss.evpi_outcome > PHONE
see = decision_by_loss.actions == 1
with_phone = np.where(phoned, PHONE + VISIT * truth, np.where(see, VISIT, MISSED * truth)).mean()
by_loss, by_half = cost(see, MISSED), cost(probability > 0.5, MISSED)
print(f"phoned: {phoned.sum()} of {len(truth)} patients; loss per patient {with_phone:.2f} instead of {by_loss:.2f}")
phone_saves = np.maximum(decision_by_loss.evpi_outcome - PHONE, 0).mean()
print(f"expected to be saved per patient: by phone calls {phone_saves:.3f}, by knowing the parameters", end=" ")
print(f"{decision_by_loss.evpi.mean():.3f}")

# %%
# Expected loss by probability, and loss as it came out
# -----------------------------------------------------
# At the left each action's expected loss; the least of them is the action to take, and marks below are the patients. At
# the right the price of a miss varies: the higher it is, the worse a threshold of one half.
figure, (losses, costs) = plt.subplots(1, 2, figsize=(9, 4.5), layout="constrained")
losses.plot(grid, MISSED * grid, color=ORANGE, linestyle="--", label="wait")
losses.plot(grid, np.full_like(grid, VISIT), color=BLUE, label="see the patient")
losses.plot(grid, PHONE + VISIT * grid, color=GREEN, linestyle="-.", label="phone, then see the poor")
losses.axvline(threshold, color=GREY, linestyle=":", linewidth=1.2)
losses.axvline(0.5, color=GREY, linestyle=":", linewidth=1.2)
losses.text(threshold - 0.01, 1.62, f"1/{VISIT / threshold:.0f}", color=GREY, ha="right")
losses.text(0.51, 1.62, "1/2, as in predict", color=GREY)
losses.plot(probability, np.full_like(probability, -0.06), "|", color="black", markersize=9, label="patients")
losses.set(
    ylim=(-0.14, 1.75),
    xlim=(-0.02, 1.02),
    xlabel="probability of a poor status",
    ylabel="expected loss",
    title="Three actions",
)
losses.legend(frameon=False, loc="center right", bbox_to_anchor=(1.0, 0.25))
looks = [(BLUE, "o", "-"), (ORANGE, "s", "--"), (GREEN, None, "-."), (GREY, None, ":")]
for (name, values), (colour, marker, line) in zip(rules.items(), looks):
    costs.plot(ratios, values, color=colour, marker=marker, markersize=4, linestyle=line, label=name)
costs.axvline(MISSED, color=GREY, linewidth=0.8)
costs.set(
    ylim=(0, 3.8),
    xlim=(0.5, 20.5),
    xticks=[1, 5, 10, 15, 20],
    xlabel="a missed patient costs (a visit costs 1)",
    ylabel="loss per patient at the fourth visit",
    title="As it came out",
)
costs.legend(frameon=False, loc="upper right")
for axes in (losses, costs):
    axes.spines[["top", "right"]].set_visible(False)
if sys.argv[1:]:
    figure.savefig(sys.argv[1], dpi=150)
else:
    plt.show()

# %%
# Decide
# ------
# The action that would have cost least, beside the other rules.
order = {"phone": with_phone, "see": by_loss, "half": by_half}
best = min(order, key=order.get)
text = {
    "phone": f"phone the {phoned.sum()} patients in doubt, see {see[~phoned].sum()} of the others without asking",
    "see": f"see {see.sum()} of {len(truth)} patients",
    "half": f"see the {np.sum(probability > 0.5)} patients above one half",
}
missed_by = {name: int((truth[~called] == 1).sum()) for name, called in {"see": see, "half": probability > 0.5}.items()}
decision = (
    f"Decision: {text[best]}. At the fourth visit the rule of least expected loss misses {missed_by['see']} patients "
    f"in poor status and costs {by_loss:.2f} a patient; a threshold of one half misses {missed_by['half']} and costs "
    f"{by_half:.2f}; to see everybody costs {VISIT:.2f}. With phone calls where knowing the outcome is worth more "
    f"than {PHONE:g} it would have been {with_phone:.2f}. To know the parameters exactly, the most that a larger "
    f"trial could do, would save {decision_by_loss.evpi.mean():.2f} a patient; the calls were expected to save "
    f"{phone_saves:.2f}."
)
print(fill(decision, width=100))
