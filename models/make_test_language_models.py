"""Write the tiny language models in `testdata/writer/` that tests load.

They are untrained: what they write is noise, but noise that follows from every
weight, so that a wrong position, mask or cache shows in the first tokens. The
folder is laid out as Hugging Face Optimum does it. Beside `model.onnx` lie
variants of it, each with one thing different. `expected.json` holds what a plain
loop around the Python runtime writes with the most likely token each time.
"""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

FOLDER = Path(__file__).resolve().parent / "testdata" / "writer"

OPSET, IR_VERSION = 17, 8
LAYERS, HEADS, WIDTH, FEED, CONTEXT = 2, 2, 8, 32, 192
HIDDEN = HEADS * WIDTH
FLOAT, HALF, INT64, BOOL = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT64, TensorProto.BOOL

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message.role not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('no role ' ~ message.role) }}{% endif %}"
    "<|{{ message.role }}|>\n{{ message.content.strip() }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)

WORDS = (
    "the keeper lights the lamp when the fog comes in and the ship turns away from the rocks; "
    'the harbour answers "all is well" and the gulls sleep. { "name": "Ada", "age": 36 } '
) * 4


def tokenizer():
    """A byte-level BPE tokenizer: every text has tokens, and some tokens are half a character."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<s>", "</s>", "<|system|>", "<|user|>", "<|assistant|>"],
    )
    made.train_from_iterator([WORDS], trainer)
    return made


class Graph:
    """A graph in the making: nodes, constants, and names that are not used twice."""

    def __init__(self, random, element):
        self.random, self.element = random, element
        self.nodes, self.constants, self.count = [], {}, 0

    def node(self, kind, *inputs, outputs=1, **attributes):
        self.count += 1
        names = [f"v{self.count}" if outputs == 1 else f"v{self.count}_{n}" for n in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def named(self, value, name):
        self.nodes.append(helper.make_node("Identity", [value], [name]))

    def constant(self, value, name=None):
        name = name or f"c{len(self.constants)}"
        self.constants[name] = value
        return name

    def ints(self, *values):
        return self.constant(np.array(values, dtype=np.int64))

    def number(self, value):
        return self.constant(np.array(value, dtype=self.element))

    def weights(self, name, *shape, spread=1.0):
        limit = spread * np.sqrt(3.0 / shape[0])
        drawn = (2.0 * self.random.random(shape) - 1.0) * limit
        return self.constant(drawn.astype(self.element), name)

    def dimension(self, value, axis):
        return self.node("Gather", self.node("Shape", value), self.ints(axis), axis=0)

    def norm(self, value, name):
        ones = self.constant(np.ones(HIDDEN, dtype=self.element), name)
        return self.node("LayerNormalization", value, ones, axis=-1, epsilon=1e-5)


def split_heads(graph, value):
    """[batch, length, hidden] to [batch, heads, length, width]."""
    apart = graph.node("Reshape", value, graph.ints(0, 0, HEADS, WIDTH))
    return graph.node("Transpose", apart, perm=[0, 2, 1, 3])


def attention(graph, layer, value, bias, past):
    """Attention of one layer. Gives its sum and the keys and values, those of the past before the new ones."""
    heads = []
    for name in ("query", "key", "value"):
        weight = graph.weights(f"layer{layer}.{name}", HIDDEN, HIDDEN, spread=2.0)
        heads.append(split_heads(graph, graph.node("MatMul", value, weight)))
    query, key, new_value = heads
    if past:
        key = graph.node("Concat", past[0], key, axis=2)
        new_value = graph.node("Concat", past[1], new_value, axis=2)
    scores = graph.node("MatMul", query, graph.node("Transpose", key, perm=[0, 1, 3, 2]))
    scores = graph.node("Add", graph.node("Mul", scores, graph.number(WIDTH**-0.5)), bias)
    mixed = graph.node("MatMul", graph.node("Softmax", scores, axis=-1), new_value)
    joined = graph.node("Reshape", graph.node("Transpose", mixed, perm=[0, 2, 1, 3]), graph.ints(0, 0, HIDDEN))
    weight = graph.weights(f"layer{layer}.out", HIDDEN, HIDDEN)
    return graph.node("MatMul", joined, weight), key, new_value


def feed_forward(graph, layer, value):
    """Two products with a bend between them."""
    up = graph.node("MatMul", value, graph.weights(f"layer{layer}.up", HIDDEN, FEED))
    return graph.node("MatMul", graph.node("Relu", up), graph.weights(f"layer{layer}.down", FEED, HIDDEN))


def mask_bias(graph, causal, past_length, length):
    """0 where a query may look, a large negative number where not: [batch, 1, length, all]."""
    kind = HALF if graph.element == np.float16 else FLOAT
    unseen = graph.node("Sub", graph.ints(1), "attention_mask")
    unseen = graph.node("Unsqueeze", unseen, graph.ints(1, 2))
    if causal:
        whole = graph.node("Add", past_length, length)
        zero, one = (graph.constant(np.array(n, dtype=np.int64)) for n in (0, 1))
        scalar = lambda name: graph.node("Squeeze", name)
        keys = graph.node("Range", zero, scalar(whole), one)
        queries = graph.node("Range", scalar(past_length), scalar(whole), one)
        later = graph.node("Greater", keys, graph.node("Unsqueeze", queries, graph.ints(1)))
        later = graph.node("Unsqueeze", graph.node("Cast", later, to=INT64), graph.ints(0, 1))
        unseen = graph.node("Max", unseen, later)
    return graph.node("Mul", graph.node("Cast", unseen, to=kind), graph.number(-3e4))


def past_of(graph, name, merged):
    """The past under this name; in a merged model only where it is said to be used."""
    if not merged:
        return name
    kept = helper.make_graph(
        [helper.make_node("Identity", [name], [f"{name}.kept"])],
        "with_past", [], [helper.make_tensor_value_info(f"{name}.kept", FLOAT, None)],
    )
    none = helper.make_graph(
        [helper.make_node("Slice", [name, "from", "from", "axis"], [f"{name}.none"])],
        "without_past", [], [helper.make_tensor_value_info(f"{name}.none", FLOAT, None)],
    )
    return graph.node("If", "use_cache_branch", then_branch=kept, else_branch=none)


def decoder(vocabulary, merged=False, positions=True, element=np.float32, quantized=False, names=None):
    """A decoder with a cache. `names` are patterns of past and present, if not those of Optimum."""
    graph = Graph(np.random.default_rng(7), element)
    kind = HALF if element == np.float16 else FLOAT
    if merged:
        graph.constant(np.array([0], dtype=np.int64), "from")
        graph.constant(np.array([2], dtype=np.int64), "axis")
    past_name, present_name = names or ("past_key_values.{}.{}", "present.{}.{}")
    pasts = [[past_of(graph, past_name.format(layer, part), merged) for part in ("key", "value")] for layer in range(LAYERS)]
    past_length, length = graph.dimension(pasts[0][0], 2), graph.dimension("input_ids", 1)
    inputs = [("input_ids", INT64, ["batch", "length"]), ("attention_mask", INT64, ["batch", "whole"])]
    if positions:
        inputs.append(("position_ids", INT64, ["batch", "length"]))
        where = "position_ids"
    else:
        zero, one = (graph.constant(np.array(n, dtype=np.int64)) for n in (0, 1))
        where = graph.node("Range", zero, graph.node("Squeeze", length), one)
        where = graph.node("Add", where, past_length)
    embedding = graph.weights("embedding", vocabulary, HIDDEN, spread=12.0)
    place = graph.weights("place", CONTEXT, HIDDEN, spread=8.0)
    value = graph.node("Add", graph.node("Gather", embedding, "input_ids"), graph.node("Gather", place, where))
    bias = mask_bias(graph, True, past_length, length)
    shape = ["batch", HEADS, "past", WIDTH]
    outputs = [("logits", FLOAT if quantized else kind, ["batch", "length", vocabulary])]
    for layer, past in enumerate(pasts):
        mixed, *present = attention(graph, layer, graph.norm(value, f"layer{layer}.norm"), bias, past)
        value = graph.node("Add", value, mixed)
        value = graph.node("Add", value, feed_forward(graph, layer, graph.norm(value, f"layer{layer}.norm2")))
        for part, held in zip(("key", "value"), present):
            inputs.append((past_name.format(layer, part), kind, shape))
            graph.named(held, present_name.format(layer, part))
            outputs.append((present_name.format(layer, part), kind, ["batch", HEADS, "whole", WIDTH]))
    if merged:
        inputs.append(("use_cache_branch", BOOL, [1]))
    value = graph.norm(value, "norm")
    if quantized:
        small, scale, zero = graph.node("DynamicQuantizeLinear", value, outputs=3)
        head = np.clip(np.round(graph.constants["embedding"].T * 20), -127, 127).astype(np.int8)
        summed = graph.node("MatMulInteger", small, graph.constant(head), zero)
        graph.named(graph.node("Mul", graph.node("Cast", summed, to=FLOAT), scale), "logits")
    else:
        head = graph.node("Transpose", embedding, perm=[1, 0])
        graph.named(graph.node("MatMul", value, head), "logits")
    return finish(graph, inputs, outputs)


def encoder(vocabulary):
    """An encoder: every token looks at every other."""
    graph = Graph(np.random.default_rng(8), np.float32)
    inputs = [(name, INT64, ["batch", "length"]) for name in ("input_ids", "attention_mask", "token_type_ids")]
    zero = graph.ints(0)
    length = graph.dimension("input_ids", 1)
    start, one = (graph.constant(np.array(n, dtype=np.int64)) for n in (0, 1))
    where = graph.node("Range", start, graph.node("Squeeze", length), one)
    value = graph.node("Gather", graph.weights("embedding", vocabulary, HIDDEN, spread=12.0), "input_ids")
    value = graph.node("Add", value, graph.node("Gather", graph.weights("place", CONTEXT, HIDDEN, spread=8.0), where))
    value = graph.node("Add", value, graph.node("Gather", graph.weights("kind", 2, HIDDEN), "token_type_ids"))
    bias = mask_bias(graph, False, zero, length)
    mixed, *_ = attention(graph, 0, graph.norm(value, "layer0.norm"), bias, None)
    value = graph.node("Add", value, mixed)
    graph.named(graph.norm(value, "norm"), "last_hidden_state")
    return finish(graph, inputs, [("last_hidden_state", FLOAT, ["batch", "length", HIDDEN])])


def finish(graph, inputs, outputs):
    """Assemble and check."""
    made = helper.make_graph(
        graph.nodes, "writer",
        [helper.make_tensor_value_info(*value) for value in inputs],
        [helper.make_tensor_value_info(*value) for value in outputs],
        [numpy_helper.from_array(value, name) for name, value in graph.constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    return model


def external(model, location):
    """The same model with its large constants in a file of their own."""
    data = b""
    for constant in model.graph.initializer:
        raw = constant.raw_data
        if len(raw) < 256:
            continue
        offset = len(data)
        data += raw + bytes(-len(raw) % 64)
        constant.ClearField("raw_data")
        constant.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", str(offset)), ("length", str(len(raw)))):
            constant.external_data.add(key=key, value=value)
    return model, data


def greedy(model, tokens, count):
    """A plain loop: the most likely token each time, without padding and without a batch."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    past = {
        f"past_key_values.{layer}.{part}": np.zeros((1, HEADS, 0, WIDTH), np.float32)
        for layer in range(LAYERS) for part in ("key", "value")
    }
    feed, written, seen = list(tokens), [], 0
    for _ in range(count):
        seen += len(feed)
        positions = np.arange(seen - len(feed), seen, dtype=np.int64)[None]
        inputs = {"input_ids": np.array([feed], np.int64), "attention_mask": np.ones((1, seen), np.int64), "position_ids": positions}
        logits, *present = session.run(None, inputs | past)
        past = dict(zip(past, present))
        feed = [int(np.argmax(logits[0, -1]))]
        written += feed
    return written


def write(name, contents):
    """Write one file and say how large it is."""
    path = FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(contents)
    print(f"{name}: {len(contents)} bytes")


def written_json(value):
    """JSON as it lies in the tree."""
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def main():
    words = tokenizer()
    size = words.get_vocab_size()
    whole = decoder(size)
    files = {
        "model.onnx": whole,
        "merged.onnx": decoder(size, merged=True),
        "half.onnx": decoder(size, element=np.float16),
        "quantized.onnx": decoder(size, quantized=True),
        "no_positions.onnx": decoder(size, positions=False),
        "genai.onnx": decoder(size, names=("past_{1}_{0}", "present_{1}_{0}")),
        "encoder.onnx": encoder(size),
    }
    apart, data = external(decoder(size), "weights.bin")
    files["external.onnx"] = apart
    for name, model in files.items():
        write(name, model.SerializeToString(deterministic=True))
    write("weights.bin", data)
    write("tokenizer.json", words.to_str(pretty=False).encode())
    end = words.token_to_id("</s>")
    write("config.json", written_json({
        "model_type": "writer", "max_position_embeddings": CONTEXT, "vocab_size": size, "hidden_size": HIDDEN,
        "num_attention_heads": HEADS, "num_hidden_layers": LAYERS, "eos_token_id": end,
    }))
    write("generation_config.json", written_json({"eos_token_id": end}))
    write("tokenizer_config.json", written_json({
        "bos_token": "<s>", "eos_token": {"content": "</s>"}, "chat_template": CHAT_TEMPLATE,
    }))
    write("genai_config.json", written_json({"model": {
        "context_length": CONTEXT, "vocab_size": size, "bos_token_id": 0, "eos_token_id": end, "type": "writer",
        "decoder": {
            "filename": "genai.onnx", "head_size": WIDTH, "hidden_size": HIDDEN, "num_attention_heads": HEADS,
            "num_hidden_layers": LAYERS, "num_key_value_heads": HEADS,
            "inputs": {
                "input_ids": "input_ids", "attention_mask": "attention_mask", "position_ids": "position_ids",
                "past_key_names": "past_key_%d", "past_value_names": "past_value_%d",
            },
            "outputs": {"logits": "logits", "present_key_names": "present_key_%d", "present_value_names": "present_value_%d"},
        },
    }, "search": {"do_sample": True, "temperature": 0.5, "top_k": 50}}))
    prompts = ["the keeper", "The ship turns away from the rocks, and then it", "a ☂ and é", "x" * 70]
    expected = []
    for prompt in prompts:
        tokens = words.encode(prompt).ids
        expected.append({"prompt": prompt, "prompt_tokens": tokens, "tokens": greedy(whole, tokens, 48)})
    write("expected.json", written_json(expected))


if __name__ == "__main__":
    main()
