"""Drills: the shortest conversations in which an answer must be copied.

A model learns to copy from its context late and suddenly (Olsson et al. 2022, "In-context
Learning and Induction Heads", arXiv 2209.11895).  Words to be said again, and one or two
facts with one question, bring that moment forward by most of the training; without them
a training of this length ends before it.
"""

import json

from . import world
from .facts import Fact, KINDS, of_role, second_person, inside
from .talk import lower_lead

AGAIN = ("Say after me: ", "Repeat: ", "Repeat after me: ", "Please say this again: ",
         "Say this once more: ")


def word(draw):
    """A name, a number or a word of no language."""
    kind = draw.random.integers(6)
    if kind == 0:
        return draw.person()
    if kind == 1:
        return draw.place()
    if kind == 2:
        return draw.boat()
    if kind == 3:
        return draw.number(2, 199)
    if kind == 4:
        return draw.one(draw.one((world.GOODS, world.COLOURS, world.TRADES, world.HOURS)))
    letters = "".join(draw.one("bcdfghjklmnprstvwz") + draw.one("aeiouy") for _ in range(
        int(draw.random.integers(1, 4))))
    return draw.one((letters, letters.capitalize()))


def again(draw):
    joint = draw.one((" ", ", ", " and "))
    text = joint.join(word(draw) for _ in range(int(draw.random.integers(3, 11))))
    return [("user", draw.one(AGAIN) + text), ("assistant", text)]


def one_question(draw):
    """One to three facts in a system message or from the user, and one question."""
    form = draw.random.integers(3)
    number = int(draw.random.integers(1, 4))
    if form == 0:
        facts = of_role(draw.one(("keeper", "pilot")), draw, number)
        fact = draw.one(facts)
        return [("system", " ".join(each.told() for each in facts)), ("user", fact.ask(draw)),
                ("assistant", draw.one((fact.say(), fact.short() + ".")))]
    facts = [Fact(kind, draw) for kind in draw.some(KINDS, number)]
    if form == 1:
        fact = draw.one(facts)
        told = " ".join(each.say() for each in facts)
        question = lower_lead("Now, ", fact.recall(draw, they="I", their="my"))
        said = f"You said {inside(second_person(fact.say()))}."
        return [("user", f"{told} {question}"),
                ("assistant", draw.one((said, fact.short() + ".")))]
    values = {key: fact.json_value(key) for fact in facts for key in fact.kind.json}
    values = {key: values[key] for key in draw.some(list(values), len(values))}
    told = " ".join(fact.third() for fact in facts)
    return [("user", f"{told} Put {', '.join(values)} into JSON."),
            ("assistant", json.dumps(values))]


def drill(draw):
    return again(draw) if draw.chance(0.5) else one_question(draw)
