"""The sentence encoder as an ONNX graph, and the files that say how it is used.

Inputs `input_ids` and `attention_mask` i64[batch, seq]; output `last_hidden_state`
f32[batch, seq, width].  Averaging is left to the caller, as sentence-transformers
leaves it to its pooling module.
"""

import numpy as np
from onnx import TensorProto

from .graph import MASKED, REAL, WHOLE, Graph, value_info
from .sentence import PRODUCTS
from .vocabulary import write_json


def build(shape, weights):
    graph = Graph()
    width = shape.width // shape.heads

    def named(value, name):
        return graph.constant(np.asarray(value, np.float32), name)

    def norm(x, part, name):
        centred = graph.node("Sub", x, graph.node("ReduceMean", x, axes=[-1], keepdims=1))
        spread = graph.node("ReduceMean", graph.node("Mul", centred, centred), axes=[-1],
                            keepdims=1)
        root = graph.node("Sqrt", graph.node("Add", spread, graph.real(shape.norm_epsilon)))
        scaled = graph.node("Mul", graph.node("Div", centred, root),
                            named(part["scale"], name + ".scale"))
        return scaled, named(part["shift"], name + ".shift")

    def dense(x, part, name):
        product = graph.matmul(x, part["weight"], name + ".weight")
        return graph.node("Add", product, named(part["bias"], name + ".bias"))

    words = graph.node("Gather", named(weights["word_embedding"], "word_embedding"), "input_ids",
                       axis=0)
    places = graph.node("Slice", named(weights["position_embedding"], "position_embedding"),
                        graph.whole(0), graph.size("input_ids", 1), graph.whole(0))
    x = graph.node("Add", words, places)
    x = graph.node("Add", *norm(x, weights["embedding_norm"], "embedding_norm"))
    present = graph.node("Cast", "attention_mask", to=TensorProto.BOOL)
    present = graph.node("Unsqueeze", present, graph.whole(1, 2))
    for index, layer in enumerate(weights["layers"]):
        name = f"layers.{index}."
        q, k, v = (
            graph.node("Transpose",
                       graph.node("Reshape", dense(x, layer[part], name + part),
                                  graph.whole(0, 0, shape.heads, width)),
                       perm=[0, 2, 3, 1] if part == "key" else [0, 2, 1, 3])
            for part in PRODUCTS[:3]
        )
        scores = graph.node("Mul", graph.node("MatMul", q, k), graph.real(width**-0.5))
        scores = graph.node("Where", present, scores, graph.real(MASKED))
        mixed = graph.node("MatMul", graph.node("Softmax", scores, axis=-1), v)
        mixed = graph.node("Reshape", graph.node("Transpose", mixed, perm=[0, 2, 1, 3]),
                           graph.whole(0, 0, shape.width))
        x = graph.node("Add", x, dense(mixed, layer["attention_output"],
                                       name + "attention_output"))
        x = graph.node("Add", *norm(x, layer["attention_norm"], name + "attention_norm"))
        hidden = dense(x, layer["intermediate"], name + "intermediate")
        share = graph.node("Erf", graph.node("Mul", hidden, graph.real(0.5**0.5)))
        share = graph.node("Mul", graph.node("Add", share, graph.real(1.0)), graph.real(0.5))
        hidden = graph.node("Mul", hidden, share)
        x = graph.node("Add", x, dense(hidden, layer["output"], name + "output"))
        last = "last_hidden_state" if index + 1 == shape.layers else None
        x = graph.node("Add", *norm(x, layer["output_norm"], name + "output_norm"), output=last)
    dims = ["batch_size", "sequence_length"]
    inputs = [value_info(name, WHOLE, dims) for name in ("input_ids", "attention_mask")]
    outputs = [value_info("last_hidden_state", REAL, [*dims, shape.width])]
    return graph.model("encoder", inputs, outputs, "make_encoder.py")


def write_configs(folder, shape):
    write_json(
        folder / "config.json",
        {
            "architectures": ["BertModel"],
            "attention_probs_dropout_prob": 0.0,
            "hidden_act": "gelu",
            "hidden_dropout_prob": 0.0,
            "hidden_size": shape.width,
            "intermediate_size": shape.hidden,
            "layer_norm_eps": shape.norm_epsilon,
            "max_position_embeddings": shape.context,
            "model_type": "bert",
            "num_attention_heads": shape.heads,
            "num_hidden_layers": shape.layers,
            "pad_token_id": 0,
            "position_embedding_type": "absolute",
            "torch_dtype": "float32",
            "type_vocab_size": 1,
            "vocab_size": shape.vocabulary,
        },
    )
    kinds = ("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")
    write_json(
        folder / "modules.json",
        [{"idx": index, "name": str(index), "path": path,
          "type": f"sentence_transformers.models.{kind}"}
         for index, (kind, path) in enumerate(kinds)],
    )
    (folder / "1_Pooling").mkdir(exist_ok=True)
    write_json(
        folder / "1_Pooling" / "config.json",
        {"word_embedding_dimension": shape.width, "pooling_mode_cls_token": False,
         "pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": False,
         "pooling_mode_mean_sqrt_len_tokens": False},
    )
    write_json(folder / "sentence_bert_config.json",
               {"max_seq_length": shape.context, "do_lower_case": False})
