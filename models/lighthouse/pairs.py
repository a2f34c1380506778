"""Pairs of sentences that mean the same, for the sentence encoder.

A fact has a subject with a name (a boat, a light or a person), a relation and a
value.  A pair is two statements of one fact, or a question and the statement that
answers it.  Facts come in families with one subject and in families with one
relation, so that the others in a batch are near misses and not only strangers.
"""

from . import world

RELATIONS = {
    "cargo": (
        "boat", lambda d: f"{d.number(2, 60)} crates of {d.one(world.GOODS)}",
        ("The {s} carries {v}.", "There are {v} aboard the {s}.", "In the hold of the {s} are {v}.",
         "The {s} is loaded with {v}.", "{V} are on the {s}."),
        ("What does the {s} carry?", "What is in the hold of the {s}?",
         "Which cargo has the {s}?")),
    "bound": (
        "boat", lambda d: d.place(),
        ("The {s} is bound for {v}.", "The {s} is going to {v}.", "{v} is where the {s} is going.",
         "The next harbour of the {s} is {v}."),
        ("Where is the {s} going?", "Which harbour is the {s} bound for?")),
    "sailing": (
        "boat", lambda d: f"{d.one(world.HOURS)} o'clock",
        ("The {s} sails at {v}.", "The {s} leaves the quay at {v}.", "At {v} the {s} casts off.",
         "{V} is when the {s} departs."),
        ("When does the {s} sail?", "What time does the {s} leave?")),
    "hull": (
        "boat", lambda d: d.one(world.COLOURS),
        ("The hull of the {s} is {v}.", "The {s} is painted {v}.", "The {s} has a {v} hull.",
         "{V} is the colour of the {s}."),
        ("What colour is the {s}?", "How is the {s} painted?")),
    "mate": (
        "boat", lambda d: d.person(),
        ("The mate of the {s} is {v}.", "{v} is mate on the {s}.",
         "{v} minds the ropes of the {s}.", "The {s} has a mate called {v}."),
        ("Who is the mate of the {s}?", "Who minds the ropes on the {s}?")),
    "passengers": (
        "boat", lambda d: f"{d.number(2, 40)} passengers",
        ("The {s} has {v}.", "{V} are travelling on the {s}.", "The {s} took {v} aboard.",
         "On the {s} there are {v}."),
        ("How many people are on the {s}?", "How many travel with the {s}?")),
    "lamp": (
        "light", lambda d: d.one(world.COLOURS),
        ("The lamp at {s} is {v}.", "The light of {s} shines {v}.", "At {s} the lamp burns {v}.",
         "{V} is the colour of the lamp at {s}."),
        ("What colour is the lamp at {s}?", "How does the light of {s} shine?")),
    "steps": (
        "light", lambda d: f"{d.number(40, 199)} steps",
        ("The tower at {s} has {v}.", "It is {v} up to the lamp of {s}.",
         "You climb {v} in the tower at {s}."),
        ("How high is the tower at {s}?", "How many stairs has the tower of {s}?")),
    "keeper": (
        "light", lambda d: d.person(),
        ("The keeper at {s} is {v}.", "{v} keeps the light at {s}.",
         "The lighthouse of {s} is kept by {v}."),
        ("Who keeps the light at {s}?", "Who is the keeper of {s}?")),
    "wind": (
        "light", lambda d: d.one(world.WINDS),
        ("The wind at {s} is from the {v}.", "At {s} it blows from the {v}.",
         "{s} has wind from the {v}."),
        ("Where is the wind at {s}?", "How does it blow at {s}?")),
    "oil": (
        "light", lambda d: f"{d.number(2, 60)} cans of oil",
        ("There are {v} left at {s}.", "{s} still has {v}.", "The store at {s} holds {v}."),
        ("How much oil is left at {s}?", "What is in the oil store of {s}?")),
    "trade": (
        "person", lambda d: d.one(world.TRADES),
        ("{s} is a {v}.", "{s} works as a {v}.", "The trade of {s} is that of a {v}."),
        ("What is the trade of {s}?", "What does {s} work as?")),
    "home": (
        "person", lambda d: d.place(),
        ("{s} lives in {v}.", "The home of {s} is in {v}.", "{s} has a house in {v}."),
        ("Where does {s} live?", "Where is the home of {s}?")),
    "pet": (
        "person", lambda d: f"{d.one(world.PETS)} called {d.person()}",
        ("{s} has a {v}.", "A {v} lives with {s}.", "{s} keeps a {v}."),
        ("Which animal lives with {s}?", "What pet has {s}?")),
}
SUBJECTS = {"boat": world.Draw.boat, "light": world.Draw.place, "person": world.Draw.person}


def sentence(template, subject, value):
    text = template.format(s=subject, v=value, V=world.capital(value))
    return text.replace(" a orange", " an orange").replace(" a owl", " an owl").replace(
        " a amber", " an amber")


def pair(draw, relation, subject, questions=0.4):
    _, make, statements, asks = RELATIONS[relation]
    value = make(draw)
    one, other = draw.some(statements, 2)
    if draw.chance(questions):
        one = draw.one(asks)
    return sentence(one, subject, value), sentence(other, subject, value)


def batch(draw, number, questions=0.4):
    """`number` pairs, no two with the same subject and relation."""
    found, taken = [], set()
    while len(found) < number:
        if draw.chance(0.5):
            kind = draw.one(tuple(SUBJECTS))
            subject = SUBJECTS[kind](draw)
            names = [name for name, parts in RELATIONS.items() if parts[0] == kind]
            family = [(name, subject) for name in draw.some(names, 3)]
        else:
            name = draw.one(tuple(RELATIONS))
            make = SUBJECTS[RELATIONS[name][0]]
            family = [(name, make(draw)) for _ in range(3)]
        for member in family:
            if member not in taken and len(found) < number:
                taken.add(member)
                found.append(pair(draw, *member, questions))
    return found
