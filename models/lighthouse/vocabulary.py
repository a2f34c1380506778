"""The byte-level BPE tokenizer, trained on the text of the small world.

Words in lower case carry the space before them; words with a capital, which are
mostly names, do not.  A name is then the same tokens in a sentence and inside the
quotes of a JSON value, and can be copied from one to the other.  Digits stand alone.
"""

import json

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

PATTERN = r" ?[a-z]+|[A-Z][a-z]*| ?[0-9]| ?[^\sA-Za-z0-9]+|\s"
MARKS = ["<|pad|>", "<|bos|>", "<|eos|>", "<|im_start|>", "<|im_end|>"]
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def train(texts, size, marks=MARKS, frame="<|bos|> $A"):
    """A tokenizer of `size` tokens, the marks first; `frame` is put around plain text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=marks,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    framed = [(mark, index) for index, mark in enumerate(marks) if mark in frame]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=frame, pair=frame.replace("$A", "$A $B"), special_tokens=framed
    )
    return tokenizer


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="ascii")


def write(folder, tokenizer, marks, names, context, **more):
    """`names` says which mark is, for example, the `eos_token`; `more` are further settings."""
    tokenizer.save(str(folder / "tokenizer.json"))
    added = {
        str(index): {
            "content": mark, "lstrip": False, "normalized": False, "rstrip": False,
            "single_word": False, "special": True,
        }
        for index, mark in enumerate(marks)
    }
    write_json(
        folder / "tokenizer_config.json",
        {
            "added_tokens_decoder": added,
            **names,
            **more,
            "clean_up_tokenization_spaces": False,
            "model_max_length": context,
            "tokenizer_class": "PreTrainedTokenizerFast",
        },
    )
    write_json(folder / "special_tokens_map.json", names)


def write_for_chat(folder, tokenizer, context):
    names = {
        "pad_token": MARKS[0], "bos_token": MARKS[1], "eos_token": MARKS[4],
        "additional_special_tokens": [MARKS[2], MARKS[3]],
    }
    write(folder, tokenizer, MARKS, names, context, chat_template=CHAT_TEMPLATE)
