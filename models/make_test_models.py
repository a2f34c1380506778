"""Write the small models in `testdata/` that tests and benches load.

Every weight comes from a seeded generator through elementwise arithmetic only,
so the files have the same bytes on every machine with the versions named in
`requirements.txt`.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OUTPUT_FOLDER = Path(__file__).resolve().parent / "testdata"

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
OPSET = 17
IR_VERSION = 8


def uniform_weights(random, shape):
    """Draw weights whose spread keeps a layer's outputs of order one."""
    limit = np.sqrt(3.0 / shape[0])
    return ((2.0 * random.random(shape) - 1.0) * limit).astype(np.float32)


def make_model(name, nodes, inputs, outputs, initializers=None):
    """Assemble and check a model; no producer or doc string is recorded."""
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(*value) for value in inputs],
        [helper.make_tensor_value_info(*value) for value in outputs],
        [numpy_helper.from_array(v, k) for k, v in (initializers or {}).items()],
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def mlp():
    """A plain network of a useful size: 64 -> 256 -> 256 -> 16."""
    random = np.random.default_rng(1)
    weights = {
        "w1": uniform_weights(random, (64, 256)),
        "b1": uniform_weights(random, (256,)),
        "w2": uniform_weights(random, (256, 256)),
        "b2": uniform_weights(random, (256,)),
        "w3": uniform_weights(random, (256, 16)),
        "b3": uniform_weights(random, (16,)),
    }
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["z1"]),
        helper.make_node("Relu", ["z1"], ["h1"]),
        helper.make_node("Gemm", ["h1", "w2", "b2"], ["z2"]),
        helper.make_node("Relu", ["z2"], ["h2"]),
        helper.make_node("Gemm", ["h2", "w3", "b3"], ["y"]),
    ]
    return make_model(
        "mlp",
        nodes,
        [("x", FLOAT, ["batch", 64])],
        [("y", FLOAT, ["batch", 16])],
        weights,
    )


def cross_row():
    """Subtract the batch's mean: each row's result depends on the others."""
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["x", "mean"], ["y"]),
    ]
    return make_model(
        "cross_row",
        nodes,
        [("x", FLOAT, ["batch", 4])],
        [("y", FLOAT, ["batch", 4])],
    )


def dynamic_quantize():
    """One quantised layer whose scale is measured over the whole batch."""
    random = np.random.default_rng(2)
    weights = {
        "w": random.integers(-127, 128, (64, 16), dtype=np.int64).astype(np.int8),
        "w_zero_point": np.int8(0),
        "w_scale": np.float32(1.0 / 512.0),
    }
    weights = {name: np.asarray(value) for name, value in weights.items()}
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "q_scale", "q_zero_point"]),
        helper.make_node(
            "MatMulInteger", ["q", "w", "q_zero_point", "w_zero_point"], ["product"]
        ),
        helper.make_node("Cast", ["product"], ["product_float"], to=FLOAT),
        helper.make_node("Mul", ["q_scale", "w_scale"], ["scale"]),
        helper.make_node("Mul", ["product_float", "scale"], ["y"]),
    ]
    return make_model(
        "dynamic_quantize",
        nodes,
        [("x", FLOAT, ["batch", 64])],
        [("y", FLOAT, ["batch", 16])],
        weights,
    )


def fixed_batch():
    """A model exported for exactly one row, which cannot be batched."""
    random = np.random.default_rng(3)
    weights = {"w": uniform_weights(random, (4, 2)), "b": uniform_weights(random, (2,))}
    return make_model(
        "fixed_batch",
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"])],
        [("x", FLOAT, [1, 4])],
        [("y", FLOAT, [1, 2])],
        weights,
    )


def two_inputs():
    """Two inputs and two outputs of different types.

    `sum` is a + b; `count` is how many of the row's b are greater than zero.
    """
    constants = {"zero": np.array(0, np.int64), "axes": np.array([1], np.int64)}
    nodes = [
        helper.make_node("Cast", ["b"], ["b_float"], to=FLOAT),
        helper.make_node("Add", ["a", "b_float"], ["sum"]),
        helper.make_node("Greater", ["b", "zero"], ["is_positive"]),
        helper.make_node("Cast", ["is_positive"], ["ones"], to=INT64),
        helper.make_node("ReduceSum", ["ones", "axes"], ["count"], keepdims=1),
    ]
    return make_model(
        "two_inputs",
        nodes,
        [("a", FLOAT, ["batch", 3]), ("b", INT64, ["batch", 3])],
        [("sum", FLOAT, ["batch", 3]), ("count", INT64, ["batch", 1])],
        constants,
    )


def dynamic_output():
    """An output whose size is known only after the run."""
    return make_model(
        "dynamic_output",
        [helper.make_node("NonZero", ["x"], ["y"])],
        [("x", FLOAT, ["batch"])],
        [("y", INT64, [1, "n"])],
    )


def hungry():
    """The first 16 columns, by way of 32 MiB of memory for each row."""
    constants = {
        "first": np.array([0], np.int64),
        "per_row": np.array([8 << 20], np.int64),
        "starts": np.array([0], np.int64),
        "ends": np.array([16], np.int64),
        "axes": np.array([1], np.int64),
        "zero": np.array(0, np.float32),
    }
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "first"], ["rows"]),
        helper.make_node("Mul", ["rows", "per_row"], ["elements"]),
        helper.make_node("ConstantOfShape", ["elements"], ["much"]),
        helper.make_node("ReduceSum", ["much"], ["total"], keepdims=0),
        helper.make_node("Mul", ["total", "zero"], ["nothing"]),
        helper.make_node("Slice", ["x", "starts", "ends", "axes"], ["columns"]),
        helper.make_node("Add", ["columns", "nothing"], ["y"]),
    ]
    return make_model(
        "hungry",
        nodes,
        [("x", FLOAT, ["batch", 64])],
        [("y", FLOAT, ["batch", 16])],
        constants,
    )


def slow():
    """The 16 outputs of a network that takes some milliseconds for one row: six products of 256x256 by 256x256."""
    random = np.random.default_rng(7)
    weights = {
        "w_in": uniform_weights(random, (64, 256)),
        "w": uniform_weights(random, (256, 256)),
        "w_out": uniform_weights(random, (256, 16)),
        "copies": np.array([256, 1], np.int64),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w_in"], ["h"]),
        # One row becomes 256, so that little goes in and out.
        helper.make_node("Tile", ["h", "copies"], ["h0"]),
    ]
    for layer in range(6):
        nodes += [
            helper.make_node("MatMul", [f"h{layer}", "w"], [f"z{layer}"]),
            helper.make_node("Tanh", [f"z{layer}"], [f"h{layer + 1}"]),
        ]
    nodes += [
        helper.make_node("ReduceMean", ["h6"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("MatMul", ["mean", "w_out"], ["y"]),
    ]
    return make_model(
        "slow",
        nodes,
        [("x", FLOAT, [1, 64])],
        [("y", FLOAT, [1, 16])],
        weights,
    )


def self_test():
    """A product of small whole numbers, exact in every precision: what a provider must be able to do."""
    weights = {"w": np.arange(1, 13, dtype=np.float32).reshape(4, 3)}
    return make_model(
        "proof",
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [("x", FLOAT, [2, 4])],
        [("y", FLOAT, [2, 3])],
        weights,
    )


def main():
    OUTPUT_FOLDER.mkdir(exist_ok=True)
    whole = mlp()
    files = {
        "mlp.onnx": whole,
        "cross_row.onnx": cross_row(),
        "dynamic_quantize.onnx": dynamic_quantize(),
        "fixed_batch.onnx": fixed_batch(),
        "two_inputs.onnx": two_inputs(),
        "dynamic_output.onnx": dynamic_output(),
        "hungry.onnx": hungry(),
        "slow.onnx": slow(),
        # These two must be refused with an error, never crash the host.
        "corrupt.onnx": whole[: len(whole) // 2],
        "garbage.onnx": np.random.default_rng(4)
        .integers(0, 256, 1024, dtype=np.int64)
        .astype(np.uint8)
        .tobytes(),
    }
    for name, contents in files.items():
        (OUTPUT_FOLDER / name).write_bytes(contents)
        print(f"{name}: {len(contents)} bytes")
    # This one is a part of the inference host.
    (OUTPUT_FOLDER.parent / "self_test.onnx").write_bytes(self_test())


if __name__ == "__main__":
    main()
