# Triton's own client against a server of the Open Inference Protocol, as its documentation uses it: the binary tensor
# data that is its default, and JSON. Prints what it saw as one line of JSON. Arguments: HOST:PORT, rows as JSON.
import json
import sys

import numpy
import tritonclient.http as http
from tritonclient.utils import InferenceServerException

address, rows = sys.argv[1], numpy.array(json.loads(sys.argv[2]), dtype=numpy.float32)
client = http.InferenceServerClient(address)


def tensor(name, values, datatype, binary=True):
    made = http.InferInput(name, list(values.shape), datatype)
    made.set_data_from_numpy(values, binary_data=binary)
    return made


def refused(call):
    try:
        call()
    except InferenceServerException as error:
        return [error.status(), error.message()]
    return None


binary = client.infer("fraud-lgbm", [tensor("features", rows, "FP32")])
asked = [http.InferRequestedOutput("probabilities", binary_data=False)]
as_json = client.infer("fraud-lgbm", [tensor("features", rows, "FP32", False)], outputs=asked, request_id="r-7")
versioned = client.infer("fraud-lgbm", [tensor("features", rows[:1], "FP32")], model_version="1")
features = client.get_model_metadata("fraud")["inputs"][0]["shape"][1]
vector = numpy.zeros((1, features))
said = {"entity": "c-1", "transaction_id": "triton-1"}
route = [client.infer("fraud", [tensor("features", vector, "FP64")], parameters=said) for _ in range(2)]
several = client.infer("fraud", [tensor("features", numpy.zeros((3, features)), "FP64")])
print(
    json.dumps(
        {
            "live": client.is_server_live(),
            "ready": client.is_server_ready(),
            "model_ready": client.is_model_ready("fraud-lgbm", "1"),
            "unknown_ready": client.is_model_ready("nobody"),
            "server": client.get_server_metadata(),
            "metadata": client.get_model_metadata("fraud-lgbm"),
            "index": client.get_model_repository_index(),
            "binary": binary.as_numpy("probabilities").ravel().tolist(),
            "raw": binary.as_numpy("probabilities_raw").ravel().tolist(),
            "json": as_json.as_numpy("probabilities").ravel().tolist(),
            "json_answer": as_json.get_response(),
            "versioned": versioned.get_response()["model_version"],
            "route": [one.get_response()["parameters"] for one in route],
            "route_score": [float(one.as_numpy("score")[0, 0]) for one in route],
            "several": several.get_response()["parameters"],
            "reused": refused(
                lambda: client.infer("fraud", [tensor("features", vector + 1, "FP64")], parameters=said)
            ),
            "unknown": refused(lambda: client.infer("nobody", [tensor("features", rows, "FP32")])),
            "statistics": client.get_inference_statistics("fraud-lgbm")["model_stats"][0],
        }
    )
)
