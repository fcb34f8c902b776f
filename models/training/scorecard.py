"""The baseline: a logistic regression over a few features, written as points that TypeScript adds up.

A missing value scores as the average does (0 points), since nothing is known. Weights are in log-odds per standard deviation.
"""
import numpy as np
from sklearn.linear_model import LogisticRegression

# name, log1p, reason: high values of each speak for fraud in these terms.
FEATURES = [
    ("amount", True, "amount_high"),
    ("amount_to_customer_mean_30d", True, "amount_unusual_for_customer"),
    ("during_night", False, "at_night"),
    ("customer_count_1d", True, "customer_busy"),
    ("customer_mean_amount_1d", True, "customer_spend_high"),
    ("customer_mean_amount_30d", True, "customer_profile"),
    ("terminal_count_7d", True, "terminal_traffic"),
    ("terminal_risk_1d", False, "terminal_fraud_recent"),
    ("terminal_risk_7d", False, "terminal_fraud_week"),
    ("terminal_risk_30d", False, "terminal_fraud_month"),
]


def fit(rows, fraud, names, seed):
    columns = [names.index(name) for name, _, _ in FEATURES]
    values = rows[:, columns].astype(np.float64)
    card = {"format": 1, "kind": "logistic", "intercept": 0.0, "features": []}
    for at, (name, log1p, reason) in enumerate(FEATURES):
        low, high = (float(np.float32(edge)) for edge in np.nanpercentile(values[:, at], [0, 99.99]))
        clipped = np.clip(values[:, at], low, high)
        scaled = np.log1p(clipped) if log1p else clipped
        shape = {"log1p": True} if log1p else {}
        mean, scale = round(float(np.nanmean(scaled)), 9), round(max(float(np.nanstd(scaled)), 1e-6), 9)
        card["features"].append(
            {"name": name, "weight": 0.0, "clip": [low, high], **shape, "mean": mean, "scale": scale, "missing": 0.0, "reason": reason}
        )
    model = LogisticRegression(C=1.0, max_iter=500, random_state=seed).fit(standardise(card, values), fraud)
    for feature, weight in zip(card["features"], model.coef_[0]):
        feature["weight"] = round(float(weight), 9)
    card["intercept"] = round(float(model.intercept_[0]), 9)
    return card, columns, lambda of: model.predict_proba(standardise(card, of[:, columns].astype(np.float64)))[:, 1]


def standardise(card, values):
    out = np.empty_like(values)
    for at, feature in enumerate(card["features"]):
        clipped = np.clip(values[:, at], *feature["clip"])
        scaled = np.log1p(clipped) if feature.get("log1p") else clipped
        out[:, at] = (scaled - feature["mean"]) / feature["scale"]
    return np.nan_to_num(out, nan=0.0)
