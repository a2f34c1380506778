"""Words of the small world, and how names are drawn from a seed.

Names of people, boats and places are put together from pieces, so that there
are far more than a model of this size could learn by heart: it must copy them
from what was said.  One name in five is held out: it occurs in no training
text, and only there in the text that judges.
"""

import zlib

PERSON_STARTS = (
    "Al Am An Ar As Be Bra Bri Ca Cor Da Del Do El Em Fa Fin Ga Gre Ha Hel Il In Is Jo Ju "
    "Ka Ker La Len Li Lo Ma Mar Me Mi Na Nel Ni Or Os Pa Per Ra Ri Ro Sa Sel Si Ta Te Tor Va Wen"
).split()
PERSON_ENDS = (
    "ba bel bin da dan dra dor gan gil la lan leth lin lo ma man mir mo mund na nan net ni nor "
    "ra rah ran ric rin ro sa sel sin ta tan tha tin vin wen wick"
).split()
PLACE_STARTS = (
    "Salt Gull Whin Hollow Fern Stone Marl Ash Black Brack Cold Dun East Fair Far Grey Hawk High "
    "Iron Kelp Lark Long Moss North Otter Pen Rush Sand Seal Thorn Wester White Wind Wren"
).split()
PLACE_ENDS = (
    "mark ness haven wick holm ford stead mouth sound cliff head port strand ley by"
).split()
BOAT_STARTS = (
    "Am Ber Cal Cor Dun El Fal Gan Hes Il Kes Lor Mer Nim Ol Pel Quin Rav Sel Tal Un Ves Wil Yar"
).split()
BOAT_ENDS = (
    "a adine andra ara ella een eron essa ette ia ibel ina ion ira ola on or una wyn"
).split()

COLOURS = "red green blue white yellow black grey brown orange silver amber violet".split()
WINDS = "north south east west north-east north-west south-east south-west".split()
SKIES = "clear grey dark bright hazy pale cloudy stormy".split()
HOURS = "one two three four five six seven eight nine ten eleven twelve".split()
GOODS = (
    "apples pears oranges lemons onions salt rope wool tea bottles lamps nails candles books "
    "bricks honey cheese flour timber oats"
).split()
TRADES = (
    "baker teacher doctor painter clockmaker gardener tailor carpenter printer postman fiddler "
    "weaver cook mapmaker"
).split()
PETS = "cat dog goat owl donkey parrot".split()
DISHES = (
    "fish soup,bean stew,barley broth,apple pie,potato pancakes,bread and cheese,mussels,"
    "onion tart,porridge,lentil soup"
).split(",")
SPOTS = (
    "the old quay,the stone pier,the ferry steps,the harbour gate,the boathouse,the net loft,"
    "the market,the lower stairs"
).split(",")


def is_held_out(name):
    return zlib.crc32(name.encode()) % 5 == 0


class Draw:
    """Draws words; `held_out` chooses which side of the names is used."""

    def __init__(self, random, held_out=False):
        self.random = random
        self.held_out = held_out

    def one(self, things):
        return things[int(self.random.integers(len(things)))]

    def some(self, things, number):
        order = self.random.permutation(len(things))[:number]
        return [things[int(index)] for index in order]

    def chance(self, probability):
        return self.random.random() < probability

    def number(self, low, high):
        """A whole number from low to high, both included, as digits."""
        return str(int(self.random.integers(low, high + 1)))

    def _name(self, starts, ends):
        while True:
            name = self.one(starts) + self.one(ends)
            if is_held_out(name) == self.held_out and 3 < len(name) < 12:
                return name

    def person(self):
        return self._name(PERSON_STARTS, PERSON_ENDS)

    def place(self):
        return self._name(PLACE_STARTS, PLACE_ENDS)

    def boat(self):
        return self._name(BOAT_STARTS, BOAT_ENDS)


def capital(text):
    return text[:1].upper() + text[1:]


def a(noun):
    """The noun with its article."""
    return ("an " if noun[0] in "aeiou" else "a ") + noun
