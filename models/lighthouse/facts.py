"""What can be known in the small world: facts, and the ways to say and ask them.

Every fact has one sentence in the first person.  The second person follows from
it by exchanging the pronouns, so that "My boat is the Selina." in one mouth and
"You said your boat is the Selina." in the other are always the same fact.
"""

import re
from dataclasses import dataclass

from . import world
from .world import capital

SWAPS = {
    "I am": "you are", "I": "you", "me": "you", "My": "Your", "my": "your", "mine": "yours",
}
SWAP_PATTERN = re.compile(r"\b(I am|I|me|My|my|mine)\b")


def second_person(text):
    """The same sentence, said by the one who was told it."""
    return capital(SWAP_PATTERN.sub(lambda match: SWAPS[match.group(0)], text))


def inside(sentence):
    """A sentence as it stands after "You said": no capital, no full stop."""
    return sentence[:1].lower() + sentence[1:].rstrip(".")


@dataclass(frozen=True)
class Kind:
    """One kind of fact.

    `say` is the sentence in the first person, `third` the one about another,
    `ask` the questions to its owner, `recall` those to one who was told, and `short`
    what alone would answer.  `draw` gives the values by name; `json` are the names
    that may be keys of an object.
    """

    name: str
    role: str
    say: str
    third: str
    ask: tuple
    recall: tuple
    short: str
    draw: object
    json: tuple = ()


KINDS = [
    Kind("wind", "keeper", "The wind is from the {wind}.", "The wind is from the {wind}.",
         ("Where is the wind?", "How is the wind out there?", "Which way is the wind?"),
         ("Where is the wind?", "Which way did {they} say the wind was?"),
         "From the {wind}", lambda d: {"wind": d.one(world.WINDS)}, ("wind",)),
    Kind("sky", "keeper", "The sky is {sky}.", "The sky is {sky}.",
         ("How is the sky?", "What does the sky look like?"),
         ("How is the sky?", "What did {they} say about the sky?"),
         "It is {sky}", lambda d: {"sky": d.one(world.SKIES)}, ("sky",)),
    Kind("tide", "keeper", "High water is at {tide}.", "High water is at {tide}.",
         ("When is high water?", "What about the tide?", "When does the tide turn?"),
         ("When is high water?", "When did {they} say high water was?"),
         "At {tide}", lambda d: {"tide": d.one(world.HOURS)}, ("tide",)),
    Kind("lamp", "keeper", "My lamp is {lamp}.", "The lamp is {lamp}.",
         ("What colour is your lamp?", "Which colour should I look for?",
          "What does your lamp look like?"),
         ("What colour is {their} lamp?", "What colour was {their} lamp?"),
         "It is {lamp}", lambda d: {"lamp": d.one(world.COLOURS)}, ("lamp",)),
    Kind("light", "keeper", "I keep the light at {light}.", "The lighthouse is at {light}.",
         ("Which light do you keep?", "Where is your lighthouse?"),
         ("Where is {their} lighthouse?", "Where is the lighthouse?"),
         "At {light}", lambda d: {"light": d.place()}, ("light",)),
    Kind("pet", "keeper", "My {kind} is called {pet}.", "The keeper's {kind} is called {pet}.",
         ("What is your {kind} called?", "Who is that beside you?",
          "What is the name of your {kind}?"),
         ("What is {their} {kind} called?", "What was the name of {their} {kind}?"),
         "{pet}", lambda d: {"kind": d.one(world.PETS), "pet": d.person()}, ("pet",)),
    Kind("oil", "keeper", "I have {oil} cans of oil left.", "There are {oil} cans of oil left.",
         ("How much oil have you left?", "How many cans of oil have you?"),
         ("How many cans of oil are left?", "How much oil is left?"),
         "{oil} cans", lambda d: {"oil": d.number(2, 60)}, ("oil",)),
    Kind("supper", "keeper", "My supper is {supper}.", "Supper is {supper}.",
         ("What is for supper?", "What are you cooking tonight?"),
         ("What is for supper?", "What did {they} say was for supper?"),
         "{supper}", lambda d: {"supper": d.one(world.DISHES)}, ("supper",)),
    Kind("steps", "keeper", "My tower has {steps} steps.", "The tower has {steps} steps.",
         ("How many steps has your tower?", "How high is your tower?"),
         ("How many steps has the tower?", "How many steps did {they} say?"),
         "{steps} steps", lambda d: {"steps": d.number(40, 199)}, ("steps",)),
    Kind("boat", "pilot", "My boat is the {boat}.", "The boat is the {boat}.",
         ("What is your boat called?", "Which boat is that?", "What is the name of your boat?"),
         ("What is {their} boat called?", "What is the name of the boat?"),
         "The {boat}", lambda d: {"boat": d.boat()}, ("boat",)),
    Kind("hull", "pilot", "My hull is {hull}.", "The hull is {hull}.",
         ("What colour is your hull?", "How shall I know your boat?"),
         ("What colour is {their} hull?", "What colour is the hull?"),
         "It is {hull}", lambda d: {"hull": d.one(world.COLOURS)}, ("hull",)),
    Kind("cargo", "pilot", "I carry {crates} crates of {goods}.",
         "The boat carries {crates} crates of {goods}.",
         ("What are you carrying?", "What is in your hold?", "What cargo have you?",
          "How many crates have you aboard?"),
         ("What is the cargo?", "How many crates are aboard?", "What is in the hold?"),
         "{crates} crates of {goods}",
         lambda d: {"crates": d.number(2, 60), "goods": d.one(world.GOODS)}, ("crates", "goods")),
    Kind("passengers", "pilot", "I have {passengers} passengers.",
         "There are {passengers} passengers.",
         ("How many passengers have you?", "How many people are aboard?"),
         ("How many passengers are there?", "How many people are aboard?"),
         "{passengers} passengers", lambda d: {"passengers": d.number(2, 40)}, ("passengers",)),
    Kind("guest", "pilot", "My best passenger is {guest}, a {trade}.",
         "One passenger is {guest}, a {trade}.",
         ("Who is travelling with you?", "Who is your best passenger?"),
         ("Who is travelling?", "What is the trade of {guest}?", "Who is the {trade}?"),
         "{guest}, a {trade}",
         lambda d: {"guest": d.person(), "trade": d.one(world.TRADES)}, ("guest", "trade")),
    Kind("bound", "pilot", "I am bound for {bound}.", "The boat is bound for {bound}.",
         ("Where are you bound?", "Where are you going?", "Which harbour are you making for?"),
         ("Where is the boat bound?", "Which harbour is it?"),
         "For {bound}", lambda d: {"bound": d.place()}, ("bound",)),
    Kind("sailing", "pilot", "I sail at {sailing}.", "The boat sails at {sailing}.",
         ("When do you sail?", "When are you leaving?"),
         ("When does the boat sail?", "When is the sailing?"),
         "At {sailing}", lambda d: {"sailing": d.one(world.HOURS)}, ("sailing",)),
    Kind("mate", "pilot", "My mate is {mate}.", "The mate is {mate}.",
         ("Who is your mate?", "Who is at the ropes?"),
         ("Who is {their} mate?", "Who is the mate?"),
         "{mate}", lambda d: {"mate": d.person()}, ("mate",)),
]
NUMBERS = {"crates", "passengers", "oil", "steps"}


class Fact:
    """A kind with its values: what one person knows."""

    def __init__(self, kind, draw):
        self.kind = kind
        self.values = kind.draw(draw)

    def say(self):
        return self.kind.say.format(**self.values)

    def third(self):
        return self.kind.third.format(**self.values)

    def told(self):
        """The sentence as a system prompt tells it to its owner."""
        return second_person(self.say())

    def ask(self, draw):
        return draw.one(self.kind.ask).format(**self.values)

    def recall(self, draw, they="you", their="your"):
        return draw.one(self.kind.recall).format(they=they, their=their, **self.values)

    def short(self):
        return capital(self.kind.short.format(**self.values))

    def json_value(self, key):
        return int(self.values[key]) if key in NUMBERS else self.values[key]


def of_role(role, draw, number):
    kinds = [kind for kind in KINDS if kind.role == role]
    return [Fact(kind, draw) for kind in draw.some(kinds, number)]
