"""The decoder as an ONNX graph with a key and value cache, in the layout of Optimum.

Every product with weights is a MatMul with a constant on the right, already lying
as it is used.  Positions come from `position_ids` alone and the mask from
`attention_mask` alone (and from the order of the new tokens), so that a past padded
with masked slots gives the right result.
"""

import numpy as np
from onnx import TensorProto

from .decoder import rotary_tables
from .graph import MASKED, REAL, WHOLE, Graph, value_info
from .vocabulary import write_json


def allowed_slots(graph, past):
    """bool[batch, 1, seq, past+seq]: the slot is not masked and not after the token."""
    sequence = graph.node("Squeeze", graph.size("input_ids", 1))
    before = graph.node("Squeeze", graph.size(past, 2))
    total = graph.node("Add", sequence, before)
    zero, one = graph.constant(np.int64(0)), graph.constant(np.int64(1))
    slots = graph.node("Range", zero, total, one)
    own = graph.node("Unsqueeze", graph.node("Range", before, total, one), graph.whole(1))
    causal = graph.node("LessOrEqual", slots, own)
    present = graph.node("Cast", "attention_mask", to=TensorProto.BOOL)
    present = graph.node("Unsqueeze", present, graph.whole(1, 2))
    return graph.node("And", present, causal)


def build(shape, weights):
    graph = Graph()
    width, group = shape.head_width, shape.heads // shape.kv_heads
    cosine, sine = (
        graph.node("Unsqueeze",
                   graph.node("Gather", graph.constant(table, name), "position_ids", axis=0),
                   graph.whole(2))
        for table, name in zip(rotary_tables(shape), ("rotary.cosine", "rotary.sine"))
    )
    allowed = allowed_slots(graph, "past_key_values.0.key")
    batch, sequence = graph.size("input_ids", 0), graph.size("input_ids", 1)
    total = graph.size("attention_mask", 1)
    by_head = graph.node("Concat", batch, graph.whole(shape.heads), sequence, total, axis=0)
    grouped = graph.node("Concat", batch, graph.whole(shape.kv_heads),
                         graph.node("Mul", sequence, graph.whole(group)), total, axis=0)
    mixed_by_head = graph.node("Concat", batch, graph.whole(shape.heads), sequence,
                               graph.whole(width), axis=0)
    embedding = np.asarray(weights["embedding"], np.float32)
    x = graph.node("Gather", graph.constant(embedding, "embedding"), "input_ids", axis=0)
    for index, layer in enumerate(weights["layers"]):
        name = f"layers.{index}."
        normed = graph.rms_norm(x, layer["attention_norm"], shape.norm_epsilon,
                                name + "attention_norm")
        split = graph.whole(0, 0, -1, width)
        q, k, v = (
            graph.node("Reshape", graph.matmul(normed, layer[part], name + part), split)
            for part in "qkv"
        )
        q = graph.rotate(q, width // 2, cosine, sine)
        k = graph.rotate(k, width // 2, cosine, sine)
        q, k, v = (graph.node("Transpose", part, perm=[0, 2, 1, 3]) for part in (q, k, v))
        k = graph.node("Concat", f"past_key_values.{index}.key", k, axis=2,
                       output=f"present.{index}.key")
        v = graph.node("Concat", f"past_key_values.{index}.value", v, axis=2,
                       output=f"present.{index}.value")
        # The heads that share keys are stacked, so that one product serves them all.
        q = graph.node("Mul", q, graph.real(width**-0.5))
        q = graph.node("Reshape", q, graph.whole(0, shape.kv_heads, -1, width))
        scores = graph.node("MatMul", q, graph.node("Transpose", k, perm=[0, 1, 3, 2]))
        scores = graph.node("Reshape", scores, by_head)
        scores = graph.node("Where", allowed, scores, graph.real(MASKED))
        shares = graph.node("Reshape", graph.node("Softmax", scores, axis=-1), grouped)
        mixed = graph.node("Reshape", graph.node("MatMul", shares, v), mixed_by_head)
        mixed = graph.node("Transpose", mixed, perm=[0, 2, 1, 3])
        mixed = graph.node("Reshape", mixed, graph.whole(0, 0, shape.heads * width))
        x = graph.node("Add", x, graph.matmul(mixed, layer["o"], name + "o"))
        normed = graph.rms_norm(x, layer["feed_forward_norm"], shape.norm_epsilon,
                                name + "feed_forward_norm")
        gate = graph.matmul(normed, layer["gate"], name + "gate")
        gate = graph.node("Mul", gate, graph.node("Sigmoid", gate))
        hidden = graph.node("Mul", gate, graph.matmul(normed, layer["up"], name + "up"))
        x = graph.node("Add", x, graph.matmul(hidden, layer["down"], name + "down"))
    x = graph.rms_norm(x, weights["norm"], shape.norm_epsilon, "norm")
    graph.matmul(x, embedding.T, "output", output="logits")
    return model(graph, shape)


def model(graph, shape):
    total = "past_sequence_length + sequence_length"
    inputs = [
        value_info("input_ids", WHOLE, ["batch_size", "sequence_length"]),
        value_info("attention_mask", WHOLE, ["batch_size", total]),
        value_info("position_ids", WHOLE, ["batch_size", "sequence_length"]),
    ]
    outputs = [value_info("logits", REAL, ["batch_size", "sequence_length", shape.vocabulary])]
    for index in range(shape.layers):
        for part in ("key", "value"):
            for list_, name, length in (
                (inputs, f"past_key_values.{index}.{part}", "past_sequence_length"),
                (outputs, f"present.{index}.{part}", total),
            ):
                dims = ["batch_size", shape.kv_heads, length, shape.head_width]
                list_.append(value_info(name, REAL, dims))
    return graph.model("talk", inputs, outputs, "make_talk.py")


def write_configs(folder, shape):
    marks = {"bos_token_id": 1, "eos_token_id": [2, 4], "pad_token_id": 0}
    write_json(
        folder / "config.json",
        {
            "architectures": ["LlamaForCausalLM"],
            "attention_bias": False,
            "attention_dropout": 0.0,
            **marks,
            "head_dim": shape.head_width,
            "hidden_act": "silu",
            "hidden_size": shape.width,
            "initializer_range": 0.02,
            "intermediate_size": shape.hidden,
            "max_position_embeddings": shape.context,
            "mlp_bias": False,
            "model_type": "llama",
            "num_attention_heads": shape.heads,
            "num_hidden_layers": shape.layers,
            "num_key_value_heads": shape.kv_heads,
            "rms_norm_eps": shape.norm_epsilon,
            "rope_theta": shape.rope_theta,
            "tie_word_embeddings": True,
            "torch_dtype": "float32",
            "use_cache": True,
            "vocab_size": shape.vocabulary,
        },
    )
    write_json(
        folder / "generation_config.json",
        {**marks, "do_sample": True, "max_length": shape.context, "temperature": 0.5,
         "top_k": 40, "top_p": 0.95},
    )
