"""Writes one bundle: model file, golden rows, reference profile, manifest, model card. Nothing else writes there."""
import hashlib
import json
from pathlib import Path

import numpy as np

GOLDEN_SPREAD = 96
GOLDEN_MISSING = 24


def text(value):
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


def compact(value):
    """One line per item of the outer lists: readable in a diff, small on disk."""
    parts = []
    for key, item in value.items():
        if isinstance(item, list) and item and isinstance(item[0], (list, dict)):
            rows = ",\n  ".join(json.dumps(each, allow_nan=False) for each in item)
            parts.append(f'"{key}": [\n  {rows}\n ]')
        else:
            parts.append(f'"{key}": {json.dumps(item, allow_nan=False)}')
    return "{\n " + ",\n ".join(parts) + "\n}\n"


def digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def golden_rows(rows, score, holes, random):
    """Rows spread over the ranks of the score, rows with missing groups, and rows at the extremes of every column."""
    ranks = np.argsort(score, kind="stable")[np.linspace(0, len(score) - 1, GOLDEN_SPREAD // 2).astype(int)]
    worst = np.argsort(-score, kind="stable")[: len(score) // 50]
    chosen = np.r_[ranks, random.choice(worst, GOLDEN_SPREAD // 2, replace=False)]
    spread = rows[chosen]
    missing = rows[random.choice(len(rows), GOLDEN_MISSING, replace=False)].copy()
    for at in range(GOLDEN_MISSING):
        if holes:
            missing[at, holes[at % len(holes)]] = np.nan
        if holes and at >= GOLDEN_MISSING // 2:
            missing[at, holes[(at + 1) % len(holes)]] = np.nan
    low, high = np.nanmin(rows, axis=0), np.nanmax(rows, axis=0)
    extremes = np.stack([low, high, np.zeros_like(low), 10 * high, np.where(np.arange(len(low)) % 2, low, high)])
    return np.concatenate([spread, missing, extremes]).astype(np.float32)


def write(folder, bundle):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows = [[None if np.isnan(cell) else float(cell) for cell in row] for row in bundle["golden"]["rows"]]
    golden = {"format": 1, "rows": rows, "score": [float(score) for score in bundle["golden"]["score"]]}
    files = {
        bundle["file"]: bundle["content"],
        "golden.json": compact(golden).encode(),
        "reference-profile.json": compact(bundle["profile"]).encode(),
        "MODEL_CARD.md": bundle["card"].encode(),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    onnx = bundle["file"].endswith(".onnx")
    wiring = {
        "input": {"name": "features", "dtype": "float32"},
        "output": {"name": "probabilities", "column": 1},
        "score_map": {"kind": "identity"},
    }
    manifest = {
        "format": 1,
        "name": bundle["name"],
        "version": bundle["version"],
        "kind": "onnx" if onnx else "scorecard",
        "file": {"path": bundle["file"], "digest": digest(bundle["content"]), "bytes": len(bundle["content"])},
        "features": bundle["features"],
        **(wiring if onnx else {}),
        "takes_nan": True,
        "thresholds": bundle["thresholds"],
        "golden": {
            "path": "golden.json",
            "digest": digest(files["golden.json"]),
            "tolerance": bundle["golden"]["tolerance"],
        },
        "reference_profile": {
            "path": "reference-profile.json",
            "digest": digest(files["reference-profile.json"]),
        },
        "training": bundle["training"],
    }
    (folder / "manifest.json").write_text(text(manifest))
