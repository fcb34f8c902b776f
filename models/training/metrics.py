"""AUC ROC, average precision and card precision@100 with bootstrap intervals.

Frauds come in series (one stolen card, many purchases), so AUC and average precision are resampled by customer, and card
precision by day. Intervals are 95 % percentile intervals; the seed is fixed.
"""
import numpy as np

REPETITIONS = 200


def auc_and_ap(score, fraud, weight):
    """Weighted AUC ROC (ties count half) and average precision (steps at distinct scores) over rows sorted by falling score."""
    ends = np.flatnonzero(np.r_[score[1:] != score[:-1], True])
    positive = np.cumsum(weight * fraud)[ends]
    negative = np.cumsum(weight * (1 - fraud))[ends]
    gained = np.diff(np.r_[0.0, positive])
    passed = np.diff(np.r_[0.0, negative])
    auc = np.sum(passed * (np.r_[0.0, positive[:-1]] + gained / 2)) / (positive[-1] * negative[-1])
    ap = np.sum(gained * positive / np.maximum(positive + negative, 1e-12)) / positive[-1]
    return auc, ap


def card_precision(score, fraud, customer, day, top=100):
    """Per day: the share of the `top` customers by highest score who had a fraud that day. No customer is removed."""
    precision = []
    for each in np.unique(day):
        held = day == each
        order = np.argsort(-score[held], kind="stable")
        customers = customer[held][order]
        _, firsts = np.unique(customers, return_index=True)
        worst = customers[np.sort(firsts)[:top]]
        precision.append(np.isin(worst, customer[held][fraud[held] == 1]).mean())
    return np.array(precision)


def evaluate(score, part, seed):
    order = np.argsort(-score, kind="stable")
    sorted_score, fraud = score[order], part.fraud[order].astype(float)
    auc, ap = auc_and_ap(sorted_score, fraud, np.ones(len(fraud)))
    daily = card_precision(score, part.fraud, part.customer, part.day)
    random = np.random.default_rng(seed)
    people, index = np.unique(part.customer[order], return_inverse=True)
    draws = [
        auc_and_ap(sorted_score, fraud, random.multinomial(len(people), np.full(len(people), 1 / len(people)))[index])
        for _ in range(REPETITIONS)
    ]
    cards = [random.choice(daily, len(daily)).mean() for _ in range(REPETITIONS * 10)]
    return {
        "auc_roc": measured(auc, [draw[0] for draw in draws]),
        "average_precision": measured(ap, [draw[1] for draw in draws]),
        "card_precision_at_100": measured(daily.mean(), cards),
        "rows": int(len(fraud)),
        "frauds": int(fraud.sum()),
    }


def measured(value, draws):
    low, high = np.percentile(draws, [2.5, 97.5])
    return {"value": round(float(value), 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def thresholds(score, review_rate, decline_rate):
    """The lowest cuts that at most these shares of the validation rows reach; `review_rate` includes the declined."""

    def cut(rate):
        values = np.sort(score)
        allowed = int(np.floor(len(values) * rate))
        above = values[len(values) - allowed - 1]
        higher = values[values > above]
        return float(higher[0]) if len(higher) else 1.0

    return {"review_at": cut(review_rate), "decline_at": cut(decline_rate)}


def at_threshold(score, fraud, cut):
    hit = score >= cut
    return {
        "share": round(float(hit.mean()), 5),
        "precision": round(float(fraud[hit].mean()) if hit.any() else 0.0, 4),
        "recall": round(float(fraud[hit].sum() / max(1, fraud.sum())), 4),
    }
