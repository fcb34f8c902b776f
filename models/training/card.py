"""MODEL_CARD.md of a bundle: only what was measured or is known; every figure comes from this run."""

KIND = {
    "baseline": "a logistic scorecard, evaluated in TypeScript on the server's main thread; it answers where no other model can",
    "fraud-lgbm": "gradient-boosted trees (LightGBM), the reference champion",
    "fraud-xgb": "gradient-boosted trees (XGBoost), the reference challenger; it takes features that the champion does not",
    "third": "gradient-boosted trees (LightGBM), small; a fixture of the tests, not for use",
}


def interval(metric):
    return f"{metric['value']:.4f} | {metric['low']:.4f} – {metric['high']:.4f}"


def model_card(facts):
    training = facts["training"]
    test, periods, simulated = training["test_metrics"], training["periods"], training["data"]
    cuts = facts["thresholds"]
    trees = f" {facts['trees']} trees." if facts["trees"] else ""
    rows = "\n".join(
        f"| {name} | {each['first']} – {each['last']} | {each['rows']:,} | {each['frauds']:,} | {each['frauds'] / each['rows']:.2%} |"
        for name, each in periods.items()
    )
    at = "\n".join(
        f"| {name} at {cuts[key]:.6g} | {test[where]['share']:.3%} | {test[where]['precision']:.3f} | {test[where]['recall']:.3f} |"
        for name, key, where in (("review or decline", "review_at", "at_review"), ("decline", "decline_at", "at_decline"))
    )
    exported = training.get("exported")
    fidelity = (
        f"\nThe exported file and the library ({facts['training']['library']}, fed with float32 rows) agree on all "
        f"{exported['rows_compared']:,} test rows: largest difference {exported['largest_difference']:.1e}.\n"
        if exported
        else ""
    )
    listed = ", ".join(f"`{feature['name']}`" for feature in facts["features"])
    return f"""# {facts['name']} {facts['version']}

{KIND[facts['name']][0].upper()}{KIND[facts['name']][1:]}.{trees} Trained by `models/training/` with {training['library']}, seed {training['seed']}.

## Intended use

A reference: it shows the server, its tests and its benchmarks at work on a model of realistic size. It must not decide about
real payments: it has seen none.

## Data

Simulated by `assay simulate` ({simulated['customers']:,} customers, {simulated['terminals']:,} terminals, {simulated['days']} days from
{simulated['start']}, seed {simulated['seed']}); features by `assay features build`, the server's own code. Split by time with a gap of 7 days
(the labels' delay) between the parts; the first 37 days only fill windows.

| part | days | rows | frauds | rate |
|---|---|---|---|---|
{rows}

Features, in order: {listed}.
Missing values are taken. {'In 1 % of the training rows each, the features of an entity or of the amount were left out, so that the trees have learnt a side for them.' if facts['trees'] else 'A missing value scores 0 points, as the average does.'}

## Metrics on the test period

| metric | value | 95 % interval |
|---|---|---|
| AUC ROC | {interval(test['auc_roc'])} |
| average precision | {interval(test['average_precision'])} |
| card precision@100 | {interval(test['card_precision_at_100'])} |

Percentile bootstrap: by customer (200 draws) for the first two, by day (2,000 draws) for the third. Card precision@100: per day, the
share of the 100 customers with the highest score who had a fraud that day; customers already known as victims are not removed.
{fidelity}
## Thresholds

Chosen on the validation period: {training['rates']['review']:.1%} of transactions reach review or more, {training['rates']['decline']:.1%} decline. On the test period:

| cut | share of transactions | precision | recall |
|---|---|---|---|
{at}

## Limits

- The fraud is made by three scenarios (compromised terminal, stolen credentials, card testing) of our own simulator. Real
  criminals adapt; the metrics say nothing about real traffic, nor how the model compares with others on it.
- Labels are complete, right and exactly seven days late in the features; in life they are none of these.
- Scores are not calibrated beyond what the loss does. Thresholds hold for the simulated mix of amounts, hours and frauds.
- Features are only those of one customer and one terminal; there is no device, address or network, and no personal trait.
  Fairness was not examined, since simulated customers have no protected attributes.
"""
