"""Make `talk/`: a small decoder that writes, in the layout of Hugging Face Optimum.

The text is made by a grammar from a seed (`lighthouse/`), the tokenizer and the
decoder are trained on it, and the decoder is exported with a key and value cache,
compared with the training code in onnxruntime, and judged on conversations whose
names it never met.  No text or weights from elsewhere are used.

    python make_talk.py                 # train, export, check, judge
    python make_talk.py --state FILE    # the same, and can be interrupted
    python make_talk.py --judge         # judge the model that lies in `talk/`

The same machine gives the same bytes again; another processor may round products
differently, and then training ends in different, equally usable, weights.
"""

import argparse
import hashlib
import time
from pathlib import Path

import numpy as np
import onnx
from tokenizers import Tokenizer

from lighthouse import agreement, corpus, decoder, export, judge, training, vocabulary
from lighthouse.runner import Runner
from lighthouse.world import Draw

FOLDER = Path(__file__).resolve().parent / "talk"
SEED = 5
TOKENIZER_SEED, TOKENIZER_DOCUMENTS = 7, 6000
QUESTIONS = 300
LARGEST_FILE_BYTES = 9_000_000
STORY_PROMPTS = (
    "Once upon a time", "There was once a quiet weaver in", "One evening a boat",
    "The keeper of the lighthouse", "It was raining, and the",
)


def say(line):
    print(line, flush=True)


def make_tokenizer():
    draw = Draw(np.random.default_rng(TOKENIZER_SEED))
    texts = [corpus.plain_text(corpus.document(draw)) for _ in range(TOKENIZER_DOCUMENTS)]
    return vocabulary.train(texts, decoder.Shape().vocabulary)


def write(tokenizer, shape, weights):
    FOLDER.mkdir(exist_ok=True)
    vocabulary.write_for_chat(FOLDER, tokenizer, shape.context)
    export.write_configs(FOLDER, shape)
    onnx.save(export.build(shape, weights), FOLDER / "model.onnx")
    size = (FOLDER / "model.onnx").stat().st_size
    if size > LARGEST_FILE_BYTES:
        raise SystemExit(f"talk/model.onnx has {size} bytes, over {LARGEST_FILE_BYTES}")


def fingerprint():
    for path in sorted(FOLDER.iterdir()):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        say(f"{digest}  talk/{path.name}  {path.stat().st_size} bytes")


def check_prompts(encoder):
    draw = Draw(np.random.default_rng(judge.SEED), held_out=True)
    documents = [encoder.document(corpus.document(draw))[0] for _ in range(2)]
    return [tokens[:200] for tokens in documents]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--state", type=Path, help="file that keeps the training state")
    parser.add_argument("--judge", action="store_true", help="judge what lies in talk/")
    arguments = parser.parse_args()

    started = time.perf_counter()
    if arguments.judge:
        encoder = corpus.Encoder(Tokenizer.from_file(str(FOLDER / "tokenizer.json")))
    else:
        shape, tokenizer = decoder.Shape(), make_tokenizer()
        encoder = corpus.Encoder(tokenizer)
        weights = training.train(shape, encoder, SEED, arguments.state, report=say)
        say(f"{decoder.count(weights)} parameters, {time.perf_counter() - started:.0f} s")
        write(tokenizer, shape, weights)
        agreement.check(shape, weights, Runner(FOLDER / "model.onnx"), check_prompts(encoder), say)
    runner = Runner(FOLDER / "model.onnx")
    fingerprint()
    _, wrong = judge.judge(encoder, runner, QUESTIONS, say)
    for question, wanted, said in wrong[:8]:
        say(f"  wrong: {question!r}, wanted {wanted!r}, said {said!r}")
    for number in range(5):
        say(f"\nConversation {number + 1}\n{judge.converse(encoder, runner, number)}")
    for text in judge.continuations(encoder, runner, STORY_PROMPTS):
        say(f"\n{text}")


if __name__ == "__main__":
    main()
