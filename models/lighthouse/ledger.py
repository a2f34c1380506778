"""The harbour log: it is told facts, and answers questions on them in words or in JSON."""

import json

from .facts import Fact, KINDS, inside
from .talk import lower_lead
from .world import capital

SYSTEMS = (
    "You are the harbour log. You remember what you are told.",
    "You keep the harbour log and answer questions about it.",
    "You are a helpful clerk at the harbour.",
    None,
)
NOTED = ("Noted.", "It is in the log.", "I will remember that.", "Written down.", "Very well.")
INTROS = ("", "", "Please note: ", "For the log: ", "Write this down: ")
JSON_ONE = (
    "Answer in JSON with the keys {keys}.", "Give me {keys} as JSON.", "As JSON, please: {keys}.",
    "Put {keys} into JSON.", "Write a JSON object with {keys}.", "{keys} in JSON, please.",
    "What is in the log? Answer in JSON with {keys}.", "Report {keys} in JSON.",
)
UNKNOWN = ("That is not in the log.", "The log does not say.", "Nobody has told me that.")


def join_keys(keys):
    if len(keys) == 1:
        return keys[0]
    return ", ".join(keys[:-1]) + " and " + keys[-1]


def json_request(draw, facts, unknown):
    """A request for some keys, and the object that answers it; null is what nobody told."""
    known = [(key, fact) for fact in facts for key in fact.kind.json]
    chosen = draw.some(known, int(draw.random.integers(1, min(4, len(known)) + 1)))
    if unknown and draw.chance(0.12):
        fact = draw.one(unknown)
        chosen.append((fact.kind.json[0], None))
        chosen = draw.some(chosen, len(chosen))
    keys = [key for key, _ in chosen]
    value = {key: fact.json_value(key) if fact else None for key, fact in chosen}
    text = capital(draw.one(JSON_ONE).format(keys=join_keys(keys)))
    return text, json.dumps(value)


def session(draw):
    """Messages of one session with the log, and the answers to judge."""
    kinds = draw.some(KINDS, int(draw.random.integers(3, 8)))
    facts = [Fact(kind, draw) for kind in kinds]
    unknown = [Fact(kind, draw) for kind in KINDS if kind not in kinds]
    messages, checks = [], []
    system = draw.one(SYSTEMS)
    told = []
    if draw.chance(0.3):
        system = " ".join([system or SYSTEMS[0], *[fact.third() for fact in facts]])
        told = list(facts)
    if system:
        messages.append(("system", system))
    for _ in range(int(draw.random.integers(3, 8))):
        left = [fact for fact in facts if fact not in told]
        if left and (not told or draw.chance(0.4)):
            some = draw.some(left, int(draw.random.integers(1, min(5, len(left)) + 1)))
            told.extend(some)
            text = draw.one(INTROS) + " ".join(fact.third() for fact in some)
            if draw.chance(0.5):
                messages += [("user", text), ("assistant", draw.one(NOTED))]
                continue
            text += " "
        else:
            text = ""
        if draw.chance(0.45):
            request, said = json_request(draw, told, unknown)
            checks.append((len(messages) + 1, said, text + request))
        elif draw.chance(0.12):
            request = draw.one(unknown).recall(draw, they="they", their=draw.one(("the", "the")))
            said = draw.one(UNKNOWN)
        else:
            fact = draw.one(told)
            lead = draw.one(("", "", "", "Tell me, ", "Now, "))
            request = lower_lead(lead, fact.recall(draw, they="they", their="the"))
            said = draw.one((fact.third(), fact.short() + ".",
                             f"The log says {inside(fact.third())}."))
            checks.append((len(messages) + 1, fact, request))
        messages += [("user", text + request), ("assistant", said)]
    return messages, checks
