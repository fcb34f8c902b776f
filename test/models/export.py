"""Trains a small model of each kind on rows of features and exports it as ONNX, as models/ONBOARDING.md says.

usage: export.py FEATURES.csv OUT. Writes OUT/<model>.onnx, and OUT/held.csv: rows that no model was trained on, with the
trainers' own scores. Prints the bins that models/training would freeze for those rows, as JSON.
"""
import json
import sys
from pathlib import Path

import lightgbm
import numpy as np
import onnxmltools
import pandas as pd
import xgboost
from onnxmltools.convert.common.data_types import FloatTensorType as TreeFloats
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

sys.path.insert(0, str(Path(__file__).parents[2] / "models" / "training"))
from reference import bins_of  # noqa: E402

FEATURES = 15  # the first of the catalogue
HELD = 2_500

table = pd.read_csv(sys.argv[1])
out = Path(sys.argv[2])
names = [name for name in table.columns if name not in ("transaction_id", "fraud")][:FEATURES]
rows, fraud = table[names].to_numpy(np.float32), table["fraud"].to_numpy()
train = np.arange(len(fraud)) % 2 == 0
width = [None, len(names)]
prepared = [SimpleImputer(), StandardScaler()]


def fitted(model, with_rows=rows):
    return model.fit(with_rows[train], fraud[train])


def save(name, model):
    (out / f"{name}.onnx").write_bytes(model.SerializeToString())


logistic = fitted(make_pipeline(*prepared, LogisticRegression(max_iter=500)))
network = fitted(make_pipeline(*prepared, MLPClassifier((16,), max_iter=15, random_state=1)))
boosted = fitted(make_pipeline(SimpleImputer(), GradientBoostingClassifier(n_estimators=15, random_state=1)))
forest = fitted(make_pipeline(SimpleImputer(), RandomForestClassifier(15, max_depth=8, random_state=1)))
models = {"logistic": logistic, "network": network, "boosted": boosted, "forest": forest}
for name, model in models.items():
    save(name, to_onnx(model, rows[:1], options={"zipmap": False}))
save("zipmap", to_onnx(logistic, rows[:1]))
save("per-feature", to_onnx(logistic, initial_types=[(name, FloatTensorType([None, 1])) for name in names], options={"zipmap": False}))
whole = np.nan_to_num(rows).astype(np.float64)
double = fitted(make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)), whole)
save("double", to_onnx(double, whole[:1], options={"zipmap": False}))

lgbm = fitted(lightgbm.LGBMClassifier(n_estimators=40, num_leaves=15, random_state=1, verbose=-1))
save("lightgbm", onnxmltools.convert_lightgbm(lgbm, initial_types=[("features", TreeFloats(width))], zipmap=False))
xgb = fitted(xgboost.XGBClassifier(n_estimators=40, max_depth=4, random_state=1))
save("xgboost", onnxmltools.convert_xgboost(xgb, initial_types=[("features", TreeFloats(width))]))

held = np.sort(np.r_[np.flatnonzero(~train & (fraud == 1)), np.flatnonzero(~train & (fraud == 0))[:: len(fraud) // HELD // 2]])
scores = {**models, "per-feature": logistic, "lightgbm": lgbm, "xgboost": xgb}
listed = table.loc[held, ["transaction_id", *names, "fraud"]].assign(
    **{f"score_{name}": model.predict_proba(rows[held])[:, 1] for name, model in scores.items()}
)
listed.to_csv(out / "held.csv", index=False)
print(json.dumps({"rows": len(held), "bins": [bins_of(rows[held][:, at]) for at in range(len(names))]}))
