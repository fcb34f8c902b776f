"""The reference profile: each feature and the score in training, as integer counts over frozen bins (see README.md).

A value falls into the first of: null (NaN), an infinity, a single value that alone holds more than 1/bins of the rows, an
interval between quantiles of the rest. Counts are integers, so profiles of many windows or servers merge by addition.
"""
import numpy as np

BINS = 20


def bins_of(values, bins=BINS):
    values = np.asarray(values, dtype=np.float32)
    null = int(np.isnan(values).sum())
    infinities = [int(np.isneginf(values).sum()), int(np.isposinf(values).sum())]
    finite = values[np.isfinite(values)]
    distinct, counts = np.unique(finite, return_counts=True)
    single = counts > len(values) / bins
    rest = finite[~np.isin(finite, distinct[single])]
    # (-inf, e0], (e0, e1], …, (ek, +inf): quantiles that are values of the data, so an edge never splits equal values.
    share = max(1, round(bins * len(rest) / max(1, len(values))))
    edges = np.unique(np.quantile(rest, np.arange(1, share) / share, method="higher")) if len(rest) else np.array([])
    if len(edges) and edges[-1] == rest.max():
        edges = edges[:-1]
    intervals = np.bincount(np.searchsorted(edges, rest, side="left"), minlength=len(edges) + 1)
    return {
        "null": null,
        "negative_infinity": infinities[0],
        "positive_infinity": infinities[1],
        "singles": [{"value": float(v), "count": int(c)} for v, c in zip(distinct[single], counts[single])],
        "edges": [float(edge) for edge in edges],
        "counts": [int(count) for count in intervals],
    }


def profile(features, train, columns, validation, actions):
    """`features`: name and digest of each; `validation`: (part, score). Scores on training rows would flatter."""
    part, score = validation
    return {
        "format": 1,
        "bins": BINS,
        "features_from": {"first": train.first, "last": train.last, "rows": int(len(train.rows))},
        "score_from": {"first": part.first, "last": part.last, "rows": int(len(score))},
        "features": [{**feature, **bins_of(train.rows[:, at])} for feature, at in zip(features, columns)],
        "score": bins_of(score),
        "actions": actions,
    }
