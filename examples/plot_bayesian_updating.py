"""
Treat, wait, or learn more? A trial that is read while it runs
==============================================================

At two centers patients with a respiratory illness received an active treatment or placebo, and their status was judged
at four visits. Suppose that they came in four batches. After each of them, two physicians, one sceptical and one
enthusiastic, update what they believe of the treatment, and are asked what to do with the next patients: a poor status
at a visit costs ten times what the treatment costs. At first they disagree. In the end they do the same, though they
still do not believe the same, and the value of perfect information says what a further trial could save.
"""

import sys
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skdep import BayesLogit
from skdep.bayes import Normal
from skdep.datasets import load_respiratory
from skdep.plotting import UpdatingDisplay

# Okabe and Ito: told apart by colour-blind readers
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#777777"

# %%
# Data: the first fourteen patients of each center, the next fourteen, ...
# ------------------------------------------------------------------------
# Three features are enough here: the treatment, the status before, and the center.
trial = load_respiratory()
X = pd.DataFrame(
    {
        "active": trial.data["treat"] == "A",
        "good_before": trial.data["baseline"],
        "center_2": trial.data["center"] == 2,
    }
).astype(float)
patient, good = trial.groups, trial.target
number = patient.str.split(":").str[1].astype(int)
batch = np.minimum((number - 1) // 14, 3)
n_patients = patient.groupby(batch).nunique().cumsum()

# %%
# Belief: the coefficient of the treatment, in log odds of a good status
# ----------------------------------------------------------------------
# One prior a person; of everything else both have the defaults.
beliefs = {"sceptic": Normal(0.0, 0.5), "enthusiast": Normal(1.5, 0.5)}
for name, prior in beliefs.items():
    low, high = np.exp(prior.interval(0.9))
    print(f"{name}: the odds ratio is between {low:.1f} and {high:.1f} with probability 90%")

# %%
# Losses: of one patient at one visit
# -----------------------------------
# A decision for the next patients, half of them with a good status before: rows under placebo, then under treatment.
TREATMENT, POOR = 1.0, 10.0
next_patients = pd.DataFrame({"active": 0.0, "good_before": [0.0, 1.0, 0.0, 1.0], "center_2": [0.0, 0.0, 1.0, 1.0]})
both = pd.concat([next_patients, next_patients.assign(active=1.0)], ignore_index=True)


def losses(p: np.ndarray) -> dict[str, np.ndarray]:
    """Return the mean loss of each action at each draw of the probabilities of a good status."""
    placebo, active = np.split(1.0 - p, 2, axis=1)
    return {"placebo": POOR * placebo.mean(axis=1), "treat": TREATMENT + POOR * active.mean(axis=1)}


# %%
# Update, decide, repeat
# ----------------------
# ``partial_fit`` makes the posterior of one batch the prior of the next. After each the posterior decides, and says
# what it would be worth to know the parameters exactly.
models, rows = {}, []
for name, prior in beliefs.items():
    model = BayesLogit({"active": prior}, random_state=0)
    for k in range(4):
        now = batch == k
        model.partial_fit(X[now], good[now], classes=[0, 1], groups=patient[now])
        decision = model.decision(both, losses)
        saved = decision.expected_loss[0] @ [1.0, -1.0]
        rows.append([name, n_patients[k], decision.action_labels[0], saved, decision.evpi[0]])
    models[name] = model
table = pd.DataFrame(rows, columns=["belief", "patients", "action", "saved by treating", "perfect information"])
print(f"\nFor the next patients, per visit\n{table.round(3).to_string(index=False)}\n")

# %%
# Belief, decision, price
# -----------------------
# At the left what each believes after each batch; in the middle what follows from it; at the right how dear a treatment
# may be for a single patient, in the eyes of the sceptic.
figure, (updating, saving, person) = plt.subplots(1, 3, figsize=(10.5, 4.4), layout="constrained")
for (name, model), colour, marker in zip(models.items(), [ORANGE, BLUE], "os"):
    UpdatingDisplay.from_estimator(
        model,
        "active",
        ax=updating,
        interval_kwargs={"colors": colour, "alpha": 0.5, "linewidths": 4.0},
        median_kwargs={"color": colour, "marker": marker, "label": name},
    )
    part = table[table["belief"] == name]
    saving.plot(part["patients"], part["saved by treating"], color=colour, marker=marker, label=name)
    saving.plot(
        part["patients"], part["perfect information"], color=colour, marker=marker, linestyle=":", fillstyle="none"
    )
stages = models["sceptic"].history_.to_frame().query("parameter == 'active'")
others = models["enthusiast"].history_.to_frame().query("parameter == 'active'")
low, high = min(stages["low"].min(), others["low"].min()), max(stages["high"].max(), others["high"].max())
updating.set(ylim=(low - 0.1, high + 0.1), title="Belief", ylabel="coefficient of the treatment (log odds)")
updating.legend(frameon=False, loc="lower right")
saving.axhline(0, color=GREY, linewidth=1, linestyle="--")
saving.text(48, 0.62, "treating saves\n(solid)", fontsize=9)
saving.text(48, 0.3, "to know the truth\nwould save (dotted)", fontsize=9)
saving.set(
    xlabel="patients seen",
    ylabel="expected loss saved per visit",
    title="Decision",
    xlim=(15, 120),
)

# One patient at a time: status before, and whether it is worth a treatment at all
sceptic = models["sceptic"]
cost = np.linspace(0.0, 2.5, 101)
for before, line in [(0, "-"), (1, "-.")]:
    pair = both[(both["good_before"] == before) & (both["center_2"] == 0)]
    placebo, active = sceptic.predict_proba(pair)[:, 1]
    gain = POOR * (active - placebo)
    label = f"{'good' if before else 'poor'} status before"
    person.plot(cost, gain - cost, color=ORANGE, linestyle=line, label=label)
    person.plot(gain, 0.0, "o", color=ORANGE)
    print(f"{label}: good at a visit with probability {placebo:.2f} under placebo, {active:.2f} under treatment")
person.axhline(0, color=GREY, linewidth=1, linestyle="--")
person.axvline(TREATMENT, color=GREY, linewidth=1, linestyle=":")
person.set(
    xlabel=f"cost of the treatment\n(a poor status costs {POOR:g})",
    ylabel="saved by treating, for the sceptic",
    title="How dear may it be?",
    xlim=(0, 2.5),
)
person.legend(frameon=False)
for axis in (updating, saving, person):
    axis.spines[["top", "right"]].set_visible(False)
if sys.argv[1:]:
    figure.savefig(sys.argv[1], dpi=150)
else:
    plt.show()

# %%
# Decide
# ------
# What do both do in the end, and what would more data be worth to them?
last = table.groupby("belief").last()
effect = {name: np.exp(model.draws_["coef"][..., 0]) for name, model in models.items()}
ratio = {name: np.quantile(draws, [0.05, 0.95]) for name, draws in effect.items()}
helps = {name: (draws > 1.0).mean() for name, draws in effect.items()}
first = table.groupby("belief").first()
agreed = last["action"].nunique() == 1
saved, information = last["saved by treating"], last["perfect information"]
decision = (
    f"Decision: {last['action'].iloc[0] if agreed else 'none that both would take'}. After {n_patients.iloc[0]} "
    f"patients the sceptic chooses {first.loc['sceptic', 'action']}, the enthusiast "
    f"{first.loc['enthusiast', 'action']}. After {n_patients.iloc[-1]} the sceptic puts the odds ratio between "
    f"{ratio['sceptic'][0]:.1f} and {ratio['sceptic'][1]:.1f}, the enthusiast between {ratio['enthusiast'][0]:.1f} and "
    f"{ratio['enthusiast'][1]:.1f}; that the treatment helps has probability {helps['sceptic']:.3f} and "
    f"{helps['enthusiast']:.3f}. At a cost of {TREATMENT:g}, with {POOR:g} for a poor status, treating saves "
    f"{saved['sceptic']:.2f} or {saved['enthusiast']:.2f} per visit. To know the truth would save the sceptic "
    f"{information['sceptic']:.3f} more, the enthusiast {information['enthusiast']:.3f}: a further trial is worth at "
    "most that for every visit to come."
)
print(fill(decision, width=110))
