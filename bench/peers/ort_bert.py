"""onnxruntime in a race of bench/compare: a BERT of bge-small's shape.

ort_bert.py FOLDER LENGTH BATCH f32|int8: FOLDER holds the same random weights as ours reads
(model.safetensors); the graph is written from them once. A round for each line `go`.
"""

import json
import os
import sys
import time

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

ROUND_SECONDS = 1.0


def tensors(path):
    """The float32 tensors of a safetensors file."""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        data = file.read()
    header.pop("__metadata__", None)
    return {
        name: np.frombuffer(data[slice(*entry["data_offsets"])], np.float32).reshape(entry["shape"])
        for name, entry in header.items()
    }


class Graph:
    def __init__(self):
        self.nodes, self.constants, self.count = [], [], 0

    def constant(self, array):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def op(self, kind, *inputs, **attributes):
        self.count += 1
        out = f"n{self.count}"
        self.nodes.append(helper.make_node(kind, list(inputs), [out], **attributes))
        return out


def build(weights, config, path):
    graph = Graph()
    op, constant = graph.op, graph.constant
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    epsilon = config["layer_norm_eps"]

    def linear(rows, name):
        product = op("MatMul", rows, constant(weights[f"{name}.weight"].T))
        return op("Add", product, constant(weights[f"{name}.bias"]))

    def norm(rows, name):
        scale, bias = constant(weights[f"{name}.weight"]), constant(weights[f"{name}.bias"])
        return op("LayerNormalization", rows, scale, bias, epsilon=epsilon)

    def integers(*values):
        return constant(np.array(values, np.int64))

    length = op("Slice", op("Shape", "ids"), integers(1), integers(2))
    rows = op("Gather", constant(weights["embeddings.word_embeddings.weight"]), "ids")
    places = weights["embeddings.position_embeddings.weight"]
    places = places + weights["embeddings.token_type_embeddings.weight"][0]
    rows = op("Add", rows, op("Slice", constant(places), integers(0), length, integers(0)))
    rows = norm(rows, "embeddings.LayerNorm")
    split, joined = integers(0, 0, heads, hidden // heads), integers(0, 0, hidden)
    scale = constant(np.array((hidden // heads) ** -0.5, np.float32))
    for layer in range(config["num_hidden_layers"]):
        within = f"encoder.layer.{layer}."

        def by_head(name, order):
            whole = op("Reshape", linear(rows, f"{within}attention.self.{name}"), split)
            return op("Transpose", whole, perm=order)

        queries = by_head("query", [0, 2, 1, 3])
        keys = by_head("key", [0, 2, 3, 1])
        values = by_head("value", [0, 2, 1, 3])
        scores = op("Softmax", op("Mul", op("MatMul", queries, keys), scale), axis=-1)
        attended = op("Transpose", op("MatMul", scores, values), perm=[0, 2, 1, 3])
        attended = linear(op("Reshape", attended, joined), f"{within}attention.output.dense")
        rows = norm(op("Add", attended, rows), f"{within}attention.output.LayerNorm")
        inner = op("Gelu", linear(rows, f"{within}intermediate.dense"))
        outer = linear(inner, f"{within}output.dense")
        rows = norm(op("Add", outer, rows), f"{within}output.LayerNorm")
    first = op("Gather", rows, constant(np.array(0, np.int64)), axis=1)
    shape = ["batch", "length"]
    whole = helper.make_graph(
        graph.nodes,
        "bert",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, shape)],
        [helper.make_tensor_value_info(first, TensorProto.FLOAT, ["batch", hidden])],
        graph.constants,
    )
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.save(model, path)


def main():
    folder, length, batch, kind = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    path = os.path.join(folder, "model.onnx")
    if not os.path.exists(path):
        with open(os.path.join(folder, "config.json")) as file:
            build(tensors(os.path.join(folder, "model.safetensors")), json.load(file), path)
    if kind == "int8":
        whole, path = path, os.path.join(folder, "model.int8.onnx")
        if not os.path.exists(path):
            from onnxruntime.quantization import QuantType, quantize_dynamic

            quantize_dynamic(whole, path, weight_type=QuantType.QInt8, per_channel=True)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    ids = np.full((batch, length), 1996, np.int64)
    session.run(None, {"ids": ids})
    print("ready", flush=True)
    for line in sys.stdin:
        if line.strip() != "go":
            break
        start, texts = time.perf_counter(), 0
        while time.perf_counter() - start < ROUND_SECONDS:
            session.run(None, {"ids": ids})
            texts += batch
        print(texts / (time.perf_counter() - start), flush=True)


main()
