"""Judges what the decoder says in conversations with names that it never met.

A question on a fact in the context counts as answered when every value of the
fact stands in the greedy answer; a request for JSON, when the answer parses and
equals the object expected.
"""

import json
import re

import numpy as np

from . import ledger, talk
from .world import Draw

SEED = 990017
FAREWELLS = ("oodbye", "Fair winds", "Until next time", "Until tomorrow")


def has_values(answer, fact, question):
    """All values that the question asks for; a value it mentions itself is not asked for."""
    words = set(re.findall(r"[\w-]+", answer))
    wanted = [value for name, value in fact.values.items()
              if name != "kind" and value not in question]
    return all(set(re.findall(r"[\w-]+", value)) <= words for value in wanted)


def same_object(answer, expected):
    try:
        return json.loads(answer) == json.loads(expected)
    except json.JSONDecodeError:
        return False


def judge(encoder, runner, questions, report=print):
    """Shares of held-out questions that greedy decoding answers, by kind."""
    draw = Draw(np.random.default_rng(SEED), held_out=True)
    right, asked, wrong = {}, {}, []
    while sum(asked.values()) < questions:
        make = draw.one((talk.conversation, ledger.session))
        messages, checks = make(draw)
        for index, fact, question in checks:
            prompt = encoder.prompt(messages[:index])
            said = encoder.tokenizer.decode(runner.greedy(prompt, (encoder.end, encoder.eos)))
            if isinstance(fact, str):
                kind, fine, wanted = "JSON", same_object(said, fact), fact
            else:
                kind = "talk" if make is talk.conversation else "log"
                fine, wanted = has_values(said, fact, question), messages[index][1]
            asked[kind] = asked.get(kind, 0) + 1
            right[kind] = right.get(kind, 0) + fine
            if not fine:
                wrong.append((question, wanted, said))
    for kind in sorted(asked):
        report(f"held-out questions, {kind}: {right[kind]} of {asked[kind]} answered"
               f" ({100 * right[kind] / asked[kind]:.1f} %)")
    total = sum(right.values()) / sum(asked.values())
    report(f"held-out questions, all: {100 * total:.1f} %")
    return total, wrong


def converse(encoder, runner, number, turns=9, greedy=False):
    """Two copies of the model talk: text as both sides hear it."""
    draw = Draw(np.random.default_rng([SEED, number]), held_out=True)
    roles = draw.some(("keeper", "pilot"), 2)
    people = [talk.Person(role, draw) for role in roles]
    systems = [person.system(other, draw, named=True)
               for person, other in zip(people, people[::-1])]
    lines = []
    for turn in range(turns):
        side = turn % 2
        messages = [("system", systems[side])]
        messages += [("assistant" if index % 2 == side else "user", line)
                     for index, line in enumerate(lines)]
        prompt, stops = encoder.prompt(messages), (encoder.end, encoder.eos)
        if greedy:
            said = runner.greedy(prompt, stops)
        else:
            said = runner.sample(prompt, stops, draw.random, temperature=0.5)
        lines.append(encoder.tokenizer.decode(said))
        if turn and all(any(word in line for word in FAREWELLS) for line in lines[-2:]):
            break
    named = [f"{people[index % 2].name}: {line}" for index, line in enumerate(lines)]
    return "\n".join([*(f"({system})" for system in systems), *named])


def continuations(encoder, runner, prompts):
    random = np.random.default_rng(SEED)
    for prompt in prompts:
        tokens = [encoder.bos, *encoder.ids(prompt)]
        said = runner.sample(tokens, (encoder.eos, encoder.end), random, temperature=0.7)
        yield prompt + "|" + encoder.tokenizer.decode(said)
