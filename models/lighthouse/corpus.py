"""Training text as documents, and documents as rows of tokens.

A document is a story from `<|bos|>` to `<|eos|>`, or a chat in the form of the
chat template.  In a chat the words of the assistant count fully in the loss and
the rest little: what a user will say, or which facts a system message holds,
cannot be foreseen, and a model of this size has better things to learn.
"""

import numpy as np

from . import drills, ledger, smalltalk, stories, talk
from .world import Draw

SYSTEM_IMPORTANCE, USER_IMPORTANCE = 0.03, 0.1


def story_document(draw):
    return [("", stories.story(draw)[0])]


def document(draw, long=False):
    """Messages (role, text); the role is empty in plain text."""
    choice = draw.random.random()
    if long and choice < 0.6:
        return talk.conversation(draw, int(draw.random.integers(16, 36)))[0]
    if choice < 0.40:
        return talk.conversation(draw)[0]
    if choice < 0.72:
        return ledger.session(draw)[0]
    if choice < 0.84:
        return smalltalk.chat(draw)
    if choice < 0.90:
        return stories.asked_story(draw)
    return story_document(draw)


def mixed(draw):
    """One document in four is a drill."""
    return drills.drill(draw) if draw.chance(0.25) else document(draw)


def long(draw):
    return document(draw, long=True)


def plain_text(messages):
    """What the tokenizer is trained on: the words without the marks between them."""
    return "\n".join(f"{role}\n{text}" if role else text for role, text in messages)


class Encoder:
    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        marks = ("<|bos|>", "<|eos|>", "<|im_start|>", "<|im_end|>")
        self.bos, self.eos, self.start, self.end = map(tokenizer.token_to_id, marks)
        self.newline = self.ids("\n")

    def ids(self, text):
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def document(self, messages):
        """Tokens of one document, and how much each counts as a target."""
        tokens, importance = [self.bos], [0.0]
        for role, text in messages:
            if not role:
                ids = self.ids(text)
                tokens += [*ids, self.eos]
                importance += [1.0] * (len(ids) + 1)
                continue
            weight = {"system": SYSTEM_IMPORTANCE, "user": USER_IMPORTANCE}.get(role, 1.0)
            head, ids = self.ids(f"{role}\n"), self.ids(text)
            tokens += [self.start, *head, *ids, self.end, *self.newline]
            importance += [0.0] * (1 + len(head)) + [weight] * (len(ids) + 1) + [0.0]
        return tokens, importance

    def prompt(self, messages):
        """Tokens of a chat up to where the assistant begins to speak."""
        tokens, _ = self.document(messages)
        return [*tokens, self.start, *self.ids("assistant\n")]


class Rows:
    """Packs documents into rows of one length; several documents share a row."""

    OPEN = 12

    def __init__(self, encoder, make, seed, length):
        self.encoder = encoder
        self.make = make
        self.draw = Draw(np.random.default_rng(seed))
        self.length = length
        self.open = []

    def row(self):
        """The fullest row once a document fits into none of the open ones."""
        while True:
            tokens, importance = self.encoder.document(self.make(self.draw))
            tokens, importance = tokens[: self.length + 1], importance[: self.length + 1]
            if self.draw.chance(0.1) and len(tokens) > 2:
                # Prompts without the mark of the beginning are common; meet some.
                tokens, importance = tokens[1:], importance[1:]
            for index, row in enumerate(self.open):
                if len(row[0]) + len(tokens) - 1 <= self.length:
                    self.add(row, tokens, importance)
                    break
            else:
                self.open.append(self.add(([], [], [], []), tokens, importance))
            if len(self.open) > self.OPEN:
                self.open.sort(key=lambda row: len(row[0]))
                return self.open.pop()

    @staticmethod
    def add(row, tokens, importance):
        segment = (row[1][-1] + 1) if row[1] else 1
        row[0].extend(tokens[:-1])
        row[1].extend([segment] * (len(tokens) - 1))
        row[2].extend(tokens[1:])
        row[3].extend(importance[1:])
        return row

    def batch(self, rows):
        """tokens, segments and targets i32[rows, length], and importance f32."""
        arrays = [np.zeros((rows, self.length), kind) for kind in (np.int32, np.int32, np.int32,
                                                                  np.float32)]
        for index in range(rows):
            for array, values in zip(arrays, self.row()):
                array[index, : len(values)] = values
        return arrays
