"""From trained trees to ONNX files with one tensor output, scores as the trainer's library gives them.

Two traps: LightGBM's thresholds are doubles, and rounding them to the nearest float32 moves scores of rows near one; and
the exporters leave a label output and helper nodes behind that cost time. Both are dealt with here.
"""
import re

import lightgbm
import numpy as np
import onnx
from onnx import TensorProto, helper
from onnxmltools import convert_lightgbm, convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType

IR_VERSION = 10


def round_down(text):
    """The largest float32 that is at most this double: x <= t is then the same for every float32 x."""
    exact = float(text)
    near = np.float32(exact)
    if float(near) > exact:
        near = np.nextafter(near, np.float32(-np.inf))
    return repr(float(near))


def lightgbm_to_onnx(booster):
    lines = [
        "threshold=" + " ".join(round_down(t) for t in line[len("threshold=") :].split())
        if line.startswith("threshold=")
        else line
        for line in booster.model_to_string().split("\n")
    ]
    # tree_sizes are byte counts of the text as it was; without them the text is parsed tree by tree.
    text = re.sub(r"^tree_sizes=.*\n", "", "\n".join(lines), flags=re.MULTILINE)
    rounded = lightgbm.Booster(model_str=text)
    columns = booster.num_feature()
    model = convert_lightgbm(rounded, initial_types=[("features", FloatTensorType([None, columns]))], zipmap=False)
    return prune(model, columns)


def xgboost_to_onnx(classifier, columns):
    return prune(convert_xgboost(classifier, initial_types=[("features", FloatTensorType([None, columns]))]), columns)


def prune(model, columns):
    """The tree node alone: features [N, columns] in, probabilities [N, 2] out."""
    trees = [node for node in model.graph.node if node.op_type == "TreeEnsembleClassifier"]
    if len(trees) != 1:
        raise SystemExit(f"expected one tree ensemble, found {len(trees)}")
    node = trees[0]
    del node.output[:]
    node.output.extend(["label", "probabilities"])
    del node.input[:]
    node.input.append("features")
    node.name = "trees"
    graph = helper.make_graph(
        [node],
        "fraud",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["rows", columns])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["rows", 2])],
    )
    pruned = helper.make_model(
        graph,
        producer_name="assay models/training",
        opset_imports=[helper.make_opsetid("ai.onnx.ml", 3), helper.make_opsetid("", 15)],
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(pruned)
    return pruned.SerializeToString(deterministic=True)
