"""Trains the reference models and writes their bundles. See README.md for the steps before it; run.sh does them all."""
import argparse
import json
import time
from pathlib import Path

import lightgbm
import numpy as np
import onnxruntime
import scipy
import xgboost

import bundle
import data
import export
import metrics
import reference
import scorecard
from card import model_card

REVIEW_RATE, DECLINE_RATE = 0.01, 0.002
MASKED_SHARE = 0.01
VERSION = "1"
CHAMPION = 15  # the first features of the catalogue
CHALLENGER_LEAVES_OUT = ["during_weekend", "customer_mean_amount_1d", "terminal_count_30d"]
THIRD = [
    "amount", "during_night", "customer_count_1d", "customer_count_7d", "customer_mean_amount_30d", "terminal_count_1d",
    "terminal_risk_1d", "terminal_risk_7d", "terminal_risk_30d", "customer_seconds_since_last",
    "customer_max_amount_30d", "terminal_count_1h",
]  # fmt: skip
TREES = {"objective": "binary", "learning_rate": 0.05, "num_leaves": 31, "min_data_in_leaf": 200, "lambda_l2": 5.0,
         "deterministic": True, "force_row_wise": True, "num_threads": 2, "verbosity": -1}  # fmt: skip


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True)
    parser.add_argument("--transactions", required=True)
    parser.add_argument("--features", required=True)
    parser.add_argument("--digests", required=True, help="JSON: feature name -> digest of its definition")
    parser.add_argument("--simulated", required=True, help="JSON: the options given to assay simulate")
    parser.add_argument("--out", required=True, help="folder of the bundles")
    parser.add_argument("--third", help="folder of the twelve-feature bundle that tests use")
    parser.add_argument("--only", help="train this model alone: baseline, fraud-lgbm, fraud-xgb or third")
    parser.add_argument("--seed", type=int, default=7)
    return parser.parse_args()


def train_lightgbm(rows, fraud, seed, trees):
    return lightgbm.train({**TREES, "seed": seed}, lightgbm.Dataset(rows, fraud), num_boost_round=trees)


def train_xgboost(rows, fraud, seed):
    return xgboost.XGBClassifier(
        n_estimators=250, max_depth=6, learning_rate=0.08, min_child_weight=20, reg_lambda=5.0, tree_method="hist",
        n_jobs=2, random_state=seed, base_score=0.5,
    ).fit(rows, fraud)  # fmt: skip


def scores_of_file(content, rows):
    session = onnxruntime.InferenceSession(content)
    chunks = np.array_split(rows, max(1, len(rows) // 4096))
    return np.concatenate([session.run(["probabilities"], {"features": chunk})[0][:, 1] for chunk in chunks])


class Work:
    """What all models share: the catalogue, the split rows, the digests, where to write."""

    def __init__(self, options):
        self.began = time.monotonic()
        self.options = options
        self.catalogue = json.loads(Path(options.config).read_text())["policy"]["catalogue"]
        self.names = [spec["name"] for spec in self.catalogue["features"]]
        self.digests = json.loads(Path(options.digests).read_text())
        self.simulated = json.loads(Path(options.simulated).read_text())
        rows, fraud, customer, day = data.read(options.transactions, options.features, self.names)
        self.train, self.validation, self.test = data.split(rows, fraud, customer, day)
        self.masked = data.mask(self.train.rows, self.catalogue, MASKED_SHARE, np.random.default_rng(options.seed))

    def finish(self, made):
        """Thresholds, metrics, golden rows, profile, card; then the files. `made["score"]` is the trainer's own library."""
        columns = made["columns"]
        score = {each: made["score"](getattr(self, each).rows[:, columns]) for each in ("validation", "test")}
        cuts = metrics.thresholds(score["validation"], REVIEW_RATE, DECLINE_RATE)
        measured = metrics.evaluate(score["test"], self.test, self.options.seed)
        measured["at_review"] = metrics.at_threshold(score["test"], self.test.fraud, cuts["review_at"])
        measured["at_decline"] = metrics.at_threshold(score["test"], self.test.fraud, cuts["decline_at"])
        exported = self.check(made, score["test"])
        features = [{"name": self.names[at], "digest": self.digests[self.names[at]]} for at in columns]
        holes = [[columns.index(at) for at in group if at in columns] for group in data.groups(self.catalogue)]
        golden = bundle.golden_rows(
            self.test.rows[:, columns], score["test"], [hole for hole in holes if hole], np.random.default_rng(self.options.seed)
        )
        training = {
            "library": made["library"],
            "parameters": made["parameters"],
            "seed": self.options.seed,
            "data": {"source": "assay simulate", **self.simulated},
            "periods": {each: period(getattr(self, each)) for each in ("train", "validation", "test")},
            "rates": {"review": REVIEW_RATE, "decline": DECLINE_RATE, "chosen_on": "validation"},
            "test_metrics": measured,
            **({"exported": exported} if exported else {}),
        }
        facts = {
            **made,
            "version": VERSION,
            "features": features,
            "thresholds": cuts,
            "golden": {"rows": golden, "score": made["score"](golden), "tolerance": made["tolerance"]},
            "profile": reference.profile(features, self.train, columns, (self.validation, score["validation"]), actions(score["validation"], cuts)),
            "training": training,
        }
        bundle.write(made["folder"], {**facts, "card": model_card(facts)})
        print(f"{time.monotonic() - self.began:.0f} s", made["name"], len(columns), json.dumps(measured["auc_roc"]), json.dumps(measured["average_precision"]), exported, flush=True)

    def check(self, made, own):
        """How far the exported file's scores lie from the library's on every test row, and how many cross the tolerance."""
        if not made["file"].endswith(".onnx"):
            return None
        differences = np.abs(scores_of_file(made["content"], self.test.rows[:, made["columns"]]) - own)
        flips = int((differences > made["tolerance"]).sum())
        if flips > 0:
            raise SystemExit(f"{made['name']}: {flips} test rows score differently once exported")
        return {"rows_compared": int(len(own)), "largest_difference": float(differences.max()), "rows_beyond_tolerance": flips}


def period(part):
    return {"first": part.first, "last": part.last, "rows": int(len(part.fraud)), "frauds": int(part.fraud.sum())}


def actions(score, cuts):
    decline = int((score >= cuts["decline_at"]).sum())
    review = int((score >= cuts["review_at"]).sum()) - decline
    return {"approve": int(len(score)) - review - decline, "review": review, "decline": decline}


def lightgbm_model(work, folder, named):
    columns = [work.names.index(name) for name in named["features"]]
    trees = named["trees"]
    booster = train_lightgbm(work.masked[:, columns], work.train.fraud, work.options.seed, trees)
    return {
        "name": named["name"], "folder": folder, "columns": columns, "file": "model.onnx", "tolerance": 1e-5,
        "content": export.lightgbm_to_onnx(booster), "score": booster.predict, "trees": trees,
        "library": f"lightgbm {lightgbm.__version__}", "parameters": {**TREES, "num_boost_round": trees},
    }  # fmt: skip


def xgboost_model(work, folder):
    others = [at for at, name in enumerate(work.names) if name not in CHALLENGER_LEAVES_OUT]
    model = train_xgboost(work.masked[:, others], work.train.fraud, work.options.seed)
    return {
        "name": "fraud-xgb", "folder": folder, "columns": others, "file": "model.onnx", "tolerance": 1e-5,
        "content": export.xgboost_to_onnx(model, len(others)), "score": lambda rows: model.predict_proba(rows)[:, 1],
        "trees": model.n_estimators, "library": f"xgboost {xgboost.__version__}",
        "parameters": {key: value for key, value in model.get_params().items() if isinstance(value, (int, float, str)) and value == value},
    }  # fmt: skip


def scorecard_model(work, folder):
    card, columns, score = scorecard.fit(work.train.rows, work.train.fraud, work.names)
    return {
        "name": "baseline", "folder": folder, "columns": columns, "file": "scorecard.json", "tolerance": 1e-6,
        "content": bundle.compact(card).encode(), "score": score, "trees": 0, "library": f"scipy {scipy.__version__} (L-BFGS-B)",
        "parameters": {"penalty": scorecard.PENALTY, "weights": "at least 0"},
    }  # fmt: skip


def main():
    options = arguments()
    work = Work(options)
    print("rows", {each: len(getattr(work, each).rows) for each in ("train", "validation", "test")}, flush=True)
    out = Path(options.out)
    champion = {"name": "fraud-lgbm", "features": work.names[:CHAMPION], "trees": 200}
    third = {"name": "third", "features": THIRD, "trees": 60}
    models = {
        "baseline": lambda: scorecard_model(work, out / "baseline" / VERSION),
        "fraud-lgbm": lambda: lightgbm_model(work, out / "fraud-lgbm" / VERSION, champion),
        "fraud-xgb": lambda: xgboost_model(work, out / "fraud-xgb" / VERSION),
        **({"third": lambda: lightgbm_model(work, options.third, third)} if options.third else {}),
    }
    for name, make in models.items():
        if options.only in (None, name):
            work.finish(make())


main()
