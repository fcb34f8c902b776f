# What schemathesis is told beside the OpenAPI document, so that requests for scores get further than "unknown": two in
# three of them go to a model that is loaded, and tensors of numbers get the name and the width of one that is; the rest
# is as it was made up. No deadline is shorter than a second, which a busy machine would be right to answer with 503.
# Header names are of the letters, digits and hyphens that the HTTP library reads: others end the connection (README.md
# of transport/http).
import re
import zlib

import schemathesis

WIDTHS = {"fraud": 22, "fraud-lgbm": 15, "fraud-xgb": 18, "baseline": 7}
MODELS = tuple(WIDTHS)


def drawn(value):
    return zlib.crc32(repr(value).encode())


def is_infer(context):
    return context.operation is not None and context.operation.path.endswith("/infer")


@schemathesis.hook
def filter_headers(context, headers):
    return all(re.fullmatch("[A-Za-z0-9-]+", name) for name in headers or ())


@schemathesis.hook
def map_headers(context, headers):
    if headers and str(headers.get("Assay-Timeout-Ms", "")).isdigit():
        headers["Assay-Timeout-Ms"] = "1000"
    if headers and drawn(headers) % 3:
        headers.pop("Inference-Header-Content-Length", None)
    return headers


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    if is_infer(context) and path_parameters and "model" in path_parameters and drawn(path_parameters) % 3:
        path_parameters["model"] = MODELS[drawn(path_parameters) % len(MODELS)]
        if "version" in path_parameters:
            path_parameters["version"] = "1"
    return path_parameters


@schemathesis.hook
def map_body(context, body):
    inputs = body.get("inputs") if is_infer(context) and isinstance(body, dict) else None
    if not isinstance(inputs, list) or not inputs or not isinstance(inputs[0], dict):
        return body
    data = inputs[0].get("data")
    is_numeric = isinstance(data, list) and all(type(value) in (int, float) for value in data)
    if not is_numeric or not isinstance(inputs[0].get("datatype"), str):
        return body
    width = WIDTHS[MODELS[drawn(body) % len(MODELS)]]
    row = [abs(value) % 100 // 1 for value in data + [0] * width][:width]
    return {**body, "inputs": [{"name": "features", "datatype": inputs[0]["datatype"], "shape": [1, width], "data": row}]}
