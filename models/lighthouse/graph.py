"""Builds an ONNX graph node by node: opset 17, standard operators only."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET, IR_VERSION = 17, 8
WHOLE, REAL = TensorProto.INT64, TensorProto.FLOAT
# What a masked score becomes.  Its share after the softmax is exactly zero, and a row
# of masked scores alone still has a finite result.
MASKED = -1e9


def value_info(name, kind, dims):
    return helper.make_tensor_value_info(name, kind, dims)


class Graph:
    """Collects nodes and constants; each method returns the name of its output."""

    def __init__(self):
        self.nodes, self.constants, self.names = [], {}, 0

    def constant(self, value, name=None):
        value = np.asarray(value)
        if name is None:
            parts = [value.dtype, f"rank{value.ndim}", *value.ravel()]
            name = "_".join(["constant", *map(str, parts)])
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def node(self, kind, *inputs, output=None, outputs=1, **attributes):
        self.names += 1
        names = [output] if output else [f"{kind}_{self.names}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, name=f"{kind}_{self.names}",
                                           **attributes))
        return names[0] if len(names) == 1 else names

    def whole(self, *values):
        return self.constant(np.array(values, np.int64))

    def real(self, value):
        return self.constant(np.array(value, np.float32))

    def size(self, tensor, axis):
        """One dimension of a tensor, i64[1]."""
        return self.node("Slice", self.node("Shape", tensor), self.whole(axis),
                         self.whole(axis + 1))

    def matmul(self, x, weight, name, output=None):
        weight = self.constant(np.asarray(weight, np.float32), name)
        return self.node("MatMul", x, weight, output=output)

    def rms_norm(self, x, weight, epsilon, name):
        mean = self.node("ReduceMean", self.node("Mul", x, x), axes=[-1], keepdims=1)
        root = self.node("Sqrt", self.node("Add", mean, self.real(epsilon)))
        weight = self.constant(np.asarray(weight, np.float32), name)
        return self.node("Mul", self.node("Div", x, root), weight)

    def rotate(self, x, half, cosine, sine):
        first, second = self.node("Split", x, self.whole(half, half), outputs=2, axis=-1)
        return self.node(
            "Concat",
            self.node("Sub", self.node("Mul", first, cosine), self.node("Mul", second, sine)),
            self.node("Add", self.node("Mul", second, cosine), self.node("Mul", first, sine)),
            axis=-1,
        )

    def model(self, name, inputs, outputs, producer):
        """The finished model, which has passed the full check."""
        made = helper.make_model(
            helper.make_graph(self.nodes, name, inputs, outputs, list(self.constants.values())),
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name=producer,
        )
        onnx.checker.check_model(made, full_check=True)
        return made
