"""Write small models of common architectures to `testdata/`.

All take `x` f32[batch, 64] and give `y` f32[batch, 16], so that the same agent
can ask any of them, and every row of `y` follows from the same row of `x`. The
tests ask whether it does so to the last bit. As in `make_test_models.py`, the
files have the same bytes on every machine.
"""

import numpy as np
from onnx import TensorProto, helper

from make_test_models import FLOAT, OUTPUT_FOLDER, make_model, uniform_weights

HALF = TensorProto.FLOAT16
STEPS, WIDTH, HIDDEN = 8, 8, 16


def node(kind, inputs, outputs, **attributes):
    return helper.make_node(kind, inputs.split(), outputs.split(), **attributes)


def architecture(name, nodes, weights):
    """A model from x to y."""
    return make_model(
        name, nodes, [("x", FLOAT, ["batch", 64])], [("y", FLOAT, ["batch", 16])], weights
    )


def shape(*dims):
    return np.array(dims, np.int64)


def conv(random):
    """Two convolutions over an 8x8 image, pooling, a dense layer."""
    weights = {
        "image": shape(-1, 1, 8, 8),
        "w1": uniform_weights(random, (9, 8)).T.reshape(8, 1, 3, 3).copy(),
        "b1": uniform_weights(random, (8,)),
        "w2": uniform_weights(random, (72, 8)).T.reshape(8, 8, 3, 3).copy(),
        "w3": uniform_weights(random, (128, 16)),
        "b3": uniform_weights(random, (16,)),
    }
    nodes = [
        node("Reshape", "x image", "i"),
        node("Conv", "i w1 b1", "c1", pads=[1, 1, 1, 1]),
        node("Relu", "c1", "r1"),
        node("Conv", "r1 w2", "c2", pads=[1, 1, 1, 1]),
        node("MaxPool", "c2", "p", kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", "p", "f"),
        node("Gemm", "f w3 b3", "y"),
    ]
    return architecture("arch_conv", nodes, weights)


def recurrent(kind, gates):
    """A recurrent layer over eight steps; its last state is the answer."""

    def make(random):
        weights = {
            "sequence": shape(-1, STEPS, WIDTH),
            "w": uniform_weights(random, (WIDTH, gates * HIDDEN)).T.reshape(1, gates * HIDDEN, WIDTH).copy(),
            "r": uniform_weights(random, (HIDDEN, gates * HIDDEN)).T.reshape(1, gates * HIDDEN, HIDDEN).copy(),
            "axis": shape(0),
        }
        nodes = [
            node("Reshape", "x sequence", "rows"),
            node("Transpose", "rows", "steps", perm=[1, 0, 2]),
            helper.make_node(kind, ["steps", "w", "r"], ["", "last"], hidden_size=HIDDEN),
            node("Squeeze", "last axis", "y"),
        ]
        return architecture(f"arch_{kind.lower()}", nodes, weights)

    return make


def transformer(random):
    """Self-attention over eight positions with two heads, a residual, and a layer norm."""
    weights = {
        "sequence": shape(-1, STEPS, WIDTH),
        "heads": shape(0, STEPS, 2, WIDTH // 2),
        "joined": shape(0, STEPS, WIDTH),
        "flat": shape(-1, STEPS * WIDTH),
        "scale": np.float32(0.5),
        "gain": np.ones(WIDTH, np.float32),
        "bias": np.zeros(WIDTH, np.float32),
        "out": uniform_weights(random, (STEPS * WIDTH, 16)),
    }
    weights |= {f"w{part}": uniform_weights(random, (WIDTH, WIDTH)) for part in "qkvo"}
    nodes = [node("Reshape", "x sequence", "s")]
    for part, perm in [("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])]:
        nodes += [
            node("MatMul", f"s w{part}", f"{part}0"),
            node("Reshape", f"{part}0 heads", f"{part}1"),
            node("Transpose", f"{part}1", part, perm=perm),
        ]
    nodes += [
        node("MatMul", "q k", "scores"),
        node("Mul", "scores scale", "scaled"),
        node("Softmax", "scaled", "weights", axis=-1),
        node("MatMul", "weights v", "mixed"),
        node("Transpose", "mixed", "turned", perm=[0, 2, 1, 3]),
        node("Reshape", "turned joined", "attended"),
        node("MatMul", "attended wo", "projected"),
        node("Add", "projected s", "residual"),
        node("LayerNormalization", "residual gain bias", "normed", axis=-1),
        node("Reshape", "normed flat", "all"),
        node("MatMul", "all out", "y"),
    ]
    return architecture("arch_transformer", nodes, weights)


def norm(random):
    """Layer, instance and batch normalisation one after the other."""
    weights = {
        "image": shape(-1, 4, 16),
        "gain4": uniform_weights(random, (4,)) + np.float32(1.5),
        "bias4": uniform_weights(random, (4,)),
        "gain": np.ones(64, np.float32),
        "mean": uniform_weights(random, (4,)),
        "spread": np.abs(uniform_weights(random, (4,))) + np.float32(0.5),
        "w": uniform_weights(random, (64, 16)),
    }
    nodes = [
        node("LayerNormalization", "x gain", "l", axis=-1),
        node("Reshape", "l image", "i"),
        node("InstanceNormalization", "i gain4 bias4", "n"),
        node("BatchNormalization", "n gain4 bias4 mean spread", "b"),
        node("Flatten", "b", "f"),
        node("MatMul", "f w", "y"),
    ]
    return architecture("arch_norm", nodes, weights)


def fp16(random):
    """Two dense layers in half precision."""
    weights = {
        "w1": uniform_weights(random, (64, 64)).astype(np.float16),
        "b1": uniform_weights(random, (64,)).astype(np.float16),
        "w2": uniform_weights(random, (64, 16)).astype(np.float16),
    }
    nodes = [
        node("Cast", "x", "h", to=HALF),
        node("MatMul", "h w1", "m"),
        node("Add", "m b1", "z"),
        node("Tanh", "z", "t"),
        node("MatMul", "t w2", "o"),
        node("Cast", "o", "y", to=FLOAT),
    ]
    return architecture("arch_fp16", nodes, weights)


def int8(random):
    """A dense layer in eight bits whose scales are fixed, as after static quantisation."""
    weights = {
        "scale": np.float32(1.0 / 32.0),
        "zero": np.uint8(128),
        "w": random.integers(-127, 128, (64, 16), dtype=np.int64).astype(np.int8),
        "w_scale": np.float32(1.0 / 512.0),
        "w_zero": np.int8(0),
    }
    nodes = [
        node("QuantizeLinear", "x scale zero", "q"),
        node("DequantizeLinear", "q scale zero", "d"),
        node("DequantizeLinear", "w w_scale w_zero", "wd"),
        node("MatMul", "d wd", "y"),
    ]
    return architecture("arch_int8", nodes, {name: np.asarray(value) for name, value in weights.items()})


def main():
    makers = [conv, recurrent("GRU", 3), recurrent("LSTM", 4), transformer, norm, fp16, int8]
    names = ["conv", "gru", "lstm", "transformer", "norm", "fp16", "int8"]
    for seed, (name, make) in enumerate(zip(names, makers), start=100):
        contents = make(np.random.default_rng(seed))
        (OUTPUT_FOLDER / f"arch_{name}.onnx").write_bytes(contents)
        print(f"arch_{name}.onnx: {len(contents)} bytes")


if __name__ == "__main__":
    main()
