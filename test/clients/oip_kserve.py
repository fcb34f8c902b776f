# KServe's inference client (REST) against a server of the Open Inference Protocol: JSON, binary tensor data both ways,
# and the route. Prints what it saw as one line of JSON. Arguments: URL, rows as JSON.
import asyncio
import json
import sys

import numpy
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

url, rows = sys.argv[1], numpy.array(json.loads(sys.argv[2]), dtype=numpy.float32)


def request(model, values, datatype, binary, parameters=None):
    tensor = InferInput("features", list(values.shape), datatype)
    tensor.set_data_from_numpy(values, binary_data=binary)
    return InferRequest(model, [tensor], parameters={"binary_data_output": binary, **(parameters or {})})


async def main():
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    scores = {}
    for name, binary in (("binary", True), ("json", False)):
        answer = await client.infer(url, request("fraud-lgbm", rows, "FP32", binary), model_name="fraud-lgbm")
        scores[name] = answer.outputs[0].as_numpy().ravel().tolist()
    said = {"entity": "c-1", "transaction_id": "kserve-1"}
    vector = numpy.zeros((1, int(sys.argv[3])))
    route = await client.infer(url, request("fraud", vector, "FP64", True, said), model_name="fraud")
    print(
        json.dumps(
            {
                "live": await client.is_server_live(url),
                "ready": await client.is_server_ready(url),
                "model_ready": await client.is_model_ready(url, "fraud-lgbm"),
                "unknown_ready": await client.is_model_ready(url, "nobody"),
                **scores,
                "route": route.parameters,
                "route_score": float(route.outputs[0].as_numpy()[0, 0]),
            }
        )
    )
    await client.close()


asyncio.run(main())
