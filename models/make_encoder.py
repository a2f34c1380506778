"""Make `encoder/`: a small mean-pooled sentence encoder, in the layout of
sentence-transformers.

Pairs of sentences that mean the same are made by a grammar from a seed
(`lighthouse/pairs.py`); the encoder is trained so that a sentence is nearest to its
partner among all others of the batch, exported, compared with the training code in
onnxruntime, and judged by retrieval among sentences whose names it never met.
No text or weights from elsewhere are used.

    python make_encoder.py              # train, export, check, judge
    python make_encoder.py --judge      # judge the encoder that lies in `encoder/`
"""

import argparse
import functools
import hashlib
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
from tokenizers import Tokenizer

from lighthouse import export_sentence, optimiser, pairs, sentence, vocabulary
from lighthouse.world import Draw

FOLDER = Path(__file__).resolve().parent / "encoder"
SEED, TOKENIZER_SEED, JUDGE_SEED = 21, 22, 990018
MARKS = ["<|pad|>", "<|cls|>", "<|sep|>"]
STEPS, PAIRS, RATE, WARM_UP_STEPS = 120, 96, 0.01, 40
# Longer than every sentence of the grammar, so that one shape is compiled.
LENGTH = 40
CANDIDATES, ROUNDS = 200, 5
LARGEST_FILE_BYTES = 2_000_000
TOLERANCE = 1e-4


def say(line):
    print(line, flush=True)


def make_tokenizer():
    draw = Draw(np.random.default_rng(TOKENIZER_SEED))
    texts = [" ".join(pair) for pair in pairs.batch(draw, 8000)]
    return vocabulary.train(texts, sentence.Shape().vocabulary, MARKS, "<|cls|> $A <|sep|>")


def encode(tokenizer, texts, length=None):
    """tokens and mask i64[texts, length]; the length is that of the longest, or as given."""
    rows = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
    length = length or max(map(len, rows))
    tokens = np.zeros((len(rows), length), np.int64)
    mask = np.zeros_like(tokens)
    for index, row in enumerate(rows):
        row = row[:length]
        tokens[index, : len(row)], mask[index, : len(row)] = row, 1
    return tokens, mask


def train(shape, tokenizer, steps):
    weights = sentence.initial_weights(shape, SEED)
    state = optimiser.start(weights)
    draw = Draw(np.random.default_rng(SEED))

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def advance(weights, state, tokens, mask, rate):
        loss, gradients = jax.value_and_grad(
            lambda values: sentence.contrast(shape, values, tokens, mask))(weights)
        return *optimiser.update(weights, gradients, state, rate), loss

    started, losses = time.perf_counter(), []
    for step in range(steps):
        made = pairs.batch(draw, PAIRS)
        texts = [one for one, _ in made] + [other for _, other in made]
        tokens, mask = encode(tokenizer, texts, LENGTH)
        rate = RATE * min(1.0, (step + 1) / WARM_UP_STEPS) * (1 - step / steps)
        weights, state, loss = advance(weights, state, jnp.asarray(tokens, jnp.int32),
                                       jnp.asarray(mask, jnp.int32), rate)
        losses.append(float(loss))
        if (step + 1) % 40 == 0:
            say(f"step {step + 1} of {steps}: loss {np.mean(losses[-40:]):.4f},"
                f" {time.perf_counter() - started:.0f} s")
    return jax.device_get(weights)


def write(tokenizer, shape, weights):
    FOLDER.mkdir(exist_ok=True)
    names = {"pad_token": MARKS[0], "cls_token": MARKS[1], "sep_token": MARKS[2]}
    vocabulary.write(FOLDER, tokenizer, MARKS, names, shape.context)
    export_sentence.write_configs(FOLDER, shape)
    onnx.save(export_sentence.build(shape, weights), FOLDER / "model.onnx")
    size = (FOLDER / "model.onnx").stat().st_size
    if size > LARGEST_FILE_BYTES:
        raise SystemExit(f"encoder/model.onnx has {size} bytes, over {LARGEST_FILE_BYTES}")


class Exported:
    def __init__(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            str(FOLDER / "model.onnx"), options, providers=["CPUExecutionProvider"])
        self.tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))

    def states(self, tokens, mask):
        return self.session.run(None, {"input_ids": tokens, "attention_mask": mask})[0]

    def vectors(self, texts):
        tokens, mask = encode(self.tokenizer, texts)
        return sentence.pooled(self.states(tokens, mask), mask, np)


def check(shape, weights, exported):
    """The exported graph against the training code, and a row padded against a row alone."""
    draw = Draw(np.random.default_rng(JUDGE_SEED), held_out=True)
    texts = [one for one, _ in pairs.batch(draw, 32)]
    tokens, mask = encode(exported.tokenizer, texts)
    states = exported.states(tokens, mask)
    reference = np.asarray(sentence.forward(shape, weights, tokens, mask))
    difference = np.max(np.abs(states - reference) * mask[..., None])
    alone = np.concatenate([exported.vectors([text]) for text in texts])
    padding = np.max(np.abs(alone - exported.vectors(texts)))
    say(f"largest difference from the training code {difference:.1e},"
        f" of a row alone from a row padded {padding:.1e}")
    if not max(difference, padding) < TOLERANCE:
        raise SystemExit(f"check failed: a difference is over {TOLERANCE}")


def judge(exported):
    """How often the partner is the nearest of all candidates; and a baseline of shared words."""
    draw = Draw(np.random.default_rng(JUDGE_SEED), held_out=True)
    for name, questions in (("statement to its paraphrase", 0.0), ("question to its answer", 1.0)):
        first, fifth, shared = 0, 0, 0
        for _ in range(ROUNDS):
            made = pairs.batch(draw, CANDIDATES, questions)
            ones, others = ([pair[side] for pair in made] for side in (0, 1))
            alike = exported.vectors(ones) @ exported.vectors(others).T
            better = (alike > np.diag(alike)[:, None]).sum(axis=1)
            first, fifth = first + (better == 0).sum(), fifth + (better < 5).sum()
            bags = [[set(text.strip(".?").split()) for text in texts] for texts in (ones, others)]
            overlap = np.array([[len(a & b) / len(a | b) for b in bags[1]] for a in bags[0]])
            shared += (np.argmax(overlap, axis=1) == np.arange(CANDIDATES)).sum()
        asked = CANDIDATES * ROUNDS
        say(f"held-out retrieval among {CANDIDATES}, {name}: first {100 * first / asked:.1f} %,"
            f" among the first five {100 * fifth / asked:.1f} %"
            f" (by words in common: first {100 * shared / asked:.1f} %)")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--steps", type=int, default=STEPS, help="training steps")
    parser.add_argument("--judge", action="store_true", help="judge what lies in encoder/")
    arguments = parser.parse_args()
    started = time.perf_counter()
    if arguments.judge:
        judge(Exported())
        return
    shape, tokenizer = sentence.Shape(), make_tokenizer()
    weights = train(shape, tokenizer, arguments.steps)
    count = sum(int(leaf.size) for leaf in jax.tree.leaves(weights))
    say(f"{count} parameters, {time.perf_counter() - started:.0f} s")
    write(tokenizer, shape, weights)
    exported = Exported()
    check(shape, weights, exported)
    judge(exported)
    for path in sorted(path for path in FOLDER.rglob("*") if path.is_file()):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        say(f"{digest}  encoder/{path.relative_to(FOLDER)}  {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
