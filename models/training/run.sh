#!/usr/bin/env bash
# Trains the reference models from nothing: simulate, build features with the server's code, train, export.
# usage: models/training/run.sh [work folder]    PYTHON names the interpreter with requirements.txt installed
set -euo pipefail

cd "$(dirname "$0")/../.."
work=${1:-$(mktemp -d)}
python=${PYTHON:-python3}
customers=5000 terminals=10000 days=163 start=2025-01-01 seed=1

npm run --silent build
node src/assay.js simulate --customers $customers --terminals $terminals --days $days --start $start --seed $seed \
  --out "$work/transactions.csv.gz"
# The policy as the product reads it, as JSON: Python needs no YAML.
ASSAY_CONFIG='' node src/assay.js config print --json >"$work/config.json"
node src/assay.js features build --spec "$work/config.json" --in "$work/transactions.csv.gz" --out "$work/features.csv"
node models/training/digests.mjs "$work/config.json" >"$work/digests.json"
printf '{"customers":%d,"terminals":%d,"days":%d,"start":"%s","seed":%d}\n' \
  $customers $terminals $days $start $seed >"$work/simulated.json"
PYTHONDONTWRITEBYTECODE=1 "$python" models/training/train.py --config "$work/config.json" \
  --transactions "$work/transactions.csv.gz" --features "$work/features.csv" --digests "$work/digests.json" \
  --simulated "$work/simulated.json" --out models --third test/fixtures/models/third/1
