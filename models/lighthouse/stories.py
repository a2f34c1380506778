"""Short stories of the harbour: who, where, what was lost or wanted, and how it ended."""

from . import world
from .world import a, capital

THINGS = "lantern,kite,whistle,compass,teapot,umbrella,music box,map,bell,scarf".split(",")
SIZES = "small old little tall quiet cheerful patient curious".split()
PLACES = ("on the pier", "under the stairs", "behind the boathouse", "in the net loft",
          "beside the bell", "at the foot of the tower", "between two barrels")
ANIMALS = "gull seal cat crab dog heron".split()
WEATHER = ("The fog came in from the sea.", "It rained all morning.", "The wind had gone to sleep.",
           "Snow lay on the boats.", "The night was full of stars.", "A warm wind blew.",
           "The tide was far out.", "The sea was as flat as a plate.")


def hero(draw):
    they, them, their = draw.one((("she", "her", "her"), ("he", "him", "his")))
    return {
        "name": draw.person(), "friend": draw.person(), "place": draw.place(),
        "boat": draw.boat(), "trade": draw.one(world.TRADES), "size": draw.one(SIZES),
        "thing": draw.one(THINGS), "colour": draw.one(world.COLOURS), "spot": draw.one(PLACES),
        "animal": draw.one(ANIMALS), "they": they, "them": them, "their": their,
        "They": capital(they), "Their": capital(their), "goods": draw.one(world.GOODS),
        "hour": draw.one(world.HOURS), "number": draw.number(2, 30), "pet": draw.person(),
    }


OPENINGS = (
    "Once upon a time there was {a_size} {trade} called {name}, who lived in {place}.",
    "There was once {a_size} {trade} in {place}. {Their} name was {name}.",
    "In the harbour of {place} lived {a_trade} called {name}.",
    "{name} was {a_trade} in {place}.",
    "Long ago, in {place}, there lived {a_size} {trade}. {They} was called {name}.",
    "One evening a boat called the {boat} came to {place}. On board was {a_trade} called {name}.",
)
WANTS = (
    "{name} had {a_colour} {thing}, and {they} loved it more than anything.",
    "What {they} loved best was {a_colour} {thing}.",
    "Every day at {hour} {they} took {their} {colour} {thing} and walked down to the sea.",
    "{Their} {colour} {thing} had come over the sea on the {boat}.",
)
LOSSES = (
    "One morning the {thing} was gone.", "One night a wave took the {thing}.",
    "But one day {a_animal} stole the {thing}.", "Then, one windy day, {they} lost the {thing}.",
)
SAD = (
    "{name} sat down and said nothing for a while.", "{name} did not want any supper.",
    "{name} looked everywhere, but could not find it.", "{They} searched until it was dark.",
)
HELP = (
    "{friend}, the keeper of the lighthouse, saw {them} and lit the lamp early.",
    "{friend}, who was the pilot of the {boat}, heard of it. \"I will help you,\" said {friend}.",
    "\"What is wrong?\" asked {friend}. \"I have lost my {thing},\" said {name}.",
    "{friend} put down {number} crates of {goods} and said, \"Let us look together.\"",
    "An old friend, {friend}, came by with a pot of tea.",
)
SEARCH = (
    "They looked {spot}, and there it was.", "In the end it was {friend} who looked {spot}.",
    "They followed {a_animal}, and it led them to the {thing}. It lay {spot}.",
    "They asked {a_animal}, but it only blinked. Then {name} looked {spot}.",
)
FOUND = (
    "There lay the {colour} {thing}, a little wet.", "The {thing} was as {colour} as ever.",
    "\"My {thing}!\" cried {name}.", "{name} held the {colour} {thing} up to the light.",
)
ENDS = (
    "From that day {name} and {friend} had tea together every evening at {hour}.",
    "And if you go to {place} today, you can still see the {colour} {thing} in the window.",
    "{name} laughed out loud, and {friend} laughed too.",
    "That night the lamp of {place} burned brighter than ever.",
    "{name} gave {friend} a jar of honey, and they were friends ever after.",
    "Then they all went home, and slept well.",
)
TOLD = ("Tell me a story.", "Do you know a story?", "Tell me a story, please.",
        "Tell me something.", "Please tell me a short story.")
TOLD_ABOUT = ("Tell me a story about {a_thing}.", "Do you know a story about {a_thing}?",
              "Tell me a story about {a_trade}.", "Tell me a story about {name}.",
              "Write a story about {a_trade} in {place}.", "I want a story with {a_animal}.")


def story(draw, must=None):
    """One story, its sentences, and what is in it."""
    who = hero(draw)
    for word in ("size", "trade", "colour", "animal", "thing"):
        who["a_" + word] = a(who[word])
    parts = [draw.one(OPENINGS)]
    if draw.chance(0.4):
        parts.append(draw.one(WEATHER))
    parts.append(draw.one(WANTS))
    loss = draw.one(LOSSES)
    if must == "animal":
        loss = LOSSES[2]
    parts += [loss, draw.one(SAD), draw.one(HELP), draw.one(SEARCH)]
    if draw.chance(0.7):
        parts.append(draw.one(FOUND))
    parts.append(draw.one(ENDS))
    return " ".join(part.format(**who) for part in parts), who


def asked_story(draw):
    """Messages in which a story is asked for and told."""
    text, who = story(draw)
    request = draw.one(TOLD)
    if draw.chance(0.6):
        request = draw.one(TOLD_ABOUT)
        if "animal" in request:
            text, who = story(draw, must="animal")
        request = request.format(**who)
    return [("user", request), ("assistant", text)]
