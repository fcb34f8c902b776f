"""The baseline: a logistic regression over a few features, written as points that TypeScript adds up.

Every weight is kept at or above 0, so that points above 0 always mean what the reason says (a high amount, a risky terminal);
without that, features that say the same with opposite signs cancel and the reasons mislead. A missing value scores as the
average does (0 points), since nothing is known. Weights are in log-odds per standard deviation.
"""
import numpy as np
from scipy.optimize import minimize

# name, log1p, reason: high values of each speak for fraud in these terms.
FEATURES = [
    ("amount", True, "amount_high"),
    ("amount_to_customer_mean_30d", True, "amount_unusual_for_customer"),
    ("during_night", False, "at_night"),
    ("customer_count_1d", True, "customer_busy_day"),
    ("customer_count_1h", True, "customer_busy_hour"),
    ("terminal_count_1h", True, "terminal_busy_hour"),
    ("terminal_risk_1d", False, "terminal_fraud_day"),
    ("terminal_risk_7d", False, "terminal_fraud_week"),
    ("terminal_risk_30d", False, "terminal_fraud_month"),
]
PENALTY = 1.0  # of the squared weights, as scikit-learn's C = 1


def fit(rows, fraud, names):
    """Returns the card, the columns it takes, and its scores computed here."""
    candidates = [names.index(name) for name, _, _ in FEATURES]
    values = rows[:, candidates].astype(np.float64)
    card = {"format": 1, "kind": "logistic", "intercept": 0.0, "features": [shape(values[:, at], each) for at, each in enumerate(FEATURES)]}
    intercept, weights = logistic(standardise(card, values), fraud.astype(np.float64))
    card["intercept"] = round(float(intercept), 9)
    for feature, weight in zip(card["features"], weights):
        feature["weight"] = round(float(weight), 9)
    # At the bound a feature adds nothing: left out, the optimum of the others is the same.
    card["features"] = [feature for feature in card["features"] if feature["weight"] > 0]
    columns = [names.index(feature["name"]) for feature in card["features"]]

    def score(of):
        points = standardise(card, of.astype(np.float64)) @ np.array([feature["weight"] for feature in card["features"]])
        return 1 / (1 + np.exp(-(card["intercept"] + points)))

    return card, columns, score


def shape(values, feature):
    name, log1p, reason = feature
    low, high = (float(np.float32(edge)) for edge in np.nanpercentile(values, [0, 99.99]))
    clipped = np.clip(values, low, high)
    scaled = np.log1p(clipped) if log1p else clipped
    return {
        "name": name,
        "weight": 0.0,
        "clip": [low, high],
        **({"log1p": True} if log1p else {}),
        "mean": round(float(np.nanmean(scaled)), 9),
        "scale": round(max(float(np.nanstd(scaled)), 1e-6), 9),
        "missing": 0.0,
        "reason": reason,
    }


def logistic(rows, fraud):
    """Penalised maximum likelihood with weights at or above 0 (L-BFGS-B)."""

    def loss(parameters):
        odds = parameters[0] + rows @ parameters[1:]
        wrong = 1 / (1 + np.exp(-odds)) - fraud
        value = np.sum(np.logaddexp(0, odds) - fraud * odds) + 0.5 * PENALTY * np.sum(parameters[1:] ** 2)
        return value, np.r_[wrong.sum(), rows.T @ wrong + PENALTY * parameters[1:]]

    bounds = [(None, None)] + [(0, None)] * rows.shape[1]
    found = minimize(loss, np.zeros(rows.shape[1] + 1), jac=True, bounds=bounds, method="L-BFGS-B")
    if not found.success:
        raise SystemExit(f"the scorecard did not converge: {found.message}")
    return found.x[0], found.x[1:]


def standardise(card, values):
    out = np.empty_like(values)
    for at, feature in enumerate(card["features"]):
        clipped = np.clip(values[:, at], *feature["clip"])
        scaled = np.log1p(clipped) if feature.get("log1p") else clipped
        out[:, at] = (scaled - feature["mean"]) / feature["scale"]
    return np.nan_to_num(out, nan=0.0)
