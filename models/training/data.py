"""Reads what `assay simulate` and `assay features build` wrote, and splits it by time.

The split is the field's: train, then a gap as long as the labels' delay, then validation (thresholds), a gap again,
then test (metrics). The first days only fill the windows. No row after the split point is seen before it.
"""
from dataclasses import dataclass
from datetime import datetime, timezone

import numpy as np
import pandas as pd

DAY_MS = 86_400_000
WARM_DAYS = 37  # the longest window (30 days) and the labels' delay (7 days)
DELAY_DAYS = 7
VALIDATION_DAYS = 14
TEST_DAYS = 28


@dataclass
class Part:
    """Rows of one period: float32 features in the catalogue's order, as a server feeds them."""

    rows: np.ndarray
    fraud: np.ndarray
    customer: np.ndarray
    day: np.ndarray
    first: str
    last: str


def read(transactions, features, names):
    facts = pd.read_csv(transactions, usecols=["transaction_id", "occurred_at", "customer_id", "fraud"])
    table = pd.read_csv(features)
    if len(table) != len(facts) or not (table["transaction_id"] == facts["transaction_id"]).all():
        raise SystemExit("the features are not those of the transactions: ids or their order differ")
    rows = table[names].to_numpy(dtype=np.float64).astype(np.float32)
    at = pd.to_datetime(facts["occurred_at"], utc=True, format="ISO8601")
    ms = (at - pd.Timestamp(0, tz="UTC")) // pd.Timedelta(milliseconds=1)
    day = (ms // DAY_MS).to_numpy()
    return rows, facts["fraud"].to_numpy(), pd.factorize(facts["customer_id"])[0], day


def split(rows, fraud, customer, day):
    first, end = int(day.min()), int(day.max()) + 1
    test = end - TEST_DAYS
    validation = test - DELAY_DAYS - VALIDATION_DAYS
    train_end = validation - DELAY_DAYS
    train = first + WARM_DAYS
    if train_end - train < 14:
        raise SystemExit("too few days to train on")

    def part(start, stop):
        held = (day >= start) & (day < stop)
        return Part(rows[held], fraud[held], customer[held], day[held], date(start), date(stop - 1))

    return part(train, train_end), part(validation, validation + VALIDATION_DAYS), part(test, end)


def date(day):
    return datetime.fromtimestamp(day * 86_400, tz=timezone.utc).date().isoformat()


def groups(catalogue):
    """Columns that go missing together: those of one entity, and those of the amount. Only what can be NaN at all."""
    amount, entities = [], {}
    for at, spec in enumerate(catalogue["features"]):
        if spec.get("missing") != "nan":
            continue
        if spec["kind"] == "aggregate":
            entities.setdefault(spec["entity"], []).append(at)
            if spec.get("of") == "amount":
                amount.append(at)
        else:
            amount.append(at)
            if spec["kind"] == "ratio":
                entities.setdefault("customer_id", []).append(at)
    return [amount, *entities.values()]


def mask(rows, catalogue, share, random):
    """A copy in which each group is missing in `share` of the rows, so that the trees learn what to do with NaN."""
    masked = rows.copy()
    for columns in groups(catalogue):
        hit = np.flatnonzero(random.random(len(rows)) < share)
        masked[np.ix_(hit, columns)] = np.nan
    return masked
