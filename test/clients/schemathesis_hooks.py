# What schemathesis is told beside the OpenAPI document, so that requests get further than "unknown": two in three of the
# model names that it makes up are those of loaded models, and requests that fit the schema get the tensor that such a
# model takes, with whatever else was made up. Headers are left alone where only their names are odd: unknown ones are passed
# over by any server, and names of other than letters, digits and hyphens end the connection (README.md of transport/http).
import re
import zlib

import schemathesis

WIDTHS = {"fraud": 22, "fraud-lgbm": 15, "fraud-xgb": 18, "baseline": 7}
MODELS = tuple(WIDTHS)


def drawn(value):
    return zlib.crc32(repr(value).encode())


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    if path_parameters and "model" in path_parameters and drawn(path_parameters) % 3:
        path_parameters["model"] = MODELS[drawn(path_parameters) // 3 % len(MODELS)]
        if "version" in path_parameters:
            path_parameters["version"] = "1"
    return path_parameters


@schemathesis.hook
def filter_headers(context, headers):
    names = list(headers or ())
    return all(re.fullmatch("[A-Za-z0-9-]+", name) for name in names) and "x-schemathesis-unknown-property" not in names


@schemathesis.hook
def map_case(context, case):
    path = case.path_parameters if isinstance(case.path_parameters, dict) else {}
    width = WIDTHS.get(path.get("model"))
    is_fit = case.meta is not None and case.meta.generation.mode.is_positive
    if not case.path.endswith("/infer") or width is None or not is_fit or not isinstance(case.body, dict):
        return case
    case.headers.pop("Inference-Header-Content-Length", None)
    rows = 1 + drawn(case.body) % 3
    values = [(drawn(case.body) >> at % 16) % 8 / 2 for at in range(rows * width)]
    case.body["inputs"] = [{"name": "features", "datatype": "FP32", "shape": [rows, width], "data": values}]
    if drawn(case.body) % 2:
        case.body.pop("outputs", None)
        case.body.pop("parameters", None)
    return case
