"""Small talk: who are you, how are you, thank you, and what lies beyond the harbour."""

from .talk import Person
from .world import capital

HELLO = ("Hello", "Hello.", "Hi", "Hi!", "Good morning.", "Good evening.", "Hello there.",
         "Hey", "Hello!", "hello", "hi")
HELLO_ANSWERS = ("Hello. What can I do for you?", "Good to hear a voice. How is the sea with you?",
                 "Hello there. The kettle is on.", "Hello. Mind the wet steps.")
WHO = ("Who are you?", "What is your name?", "Who is there?", "Who am I talking to?",
       "Tell me who you are.", "What do you do?")
VOICE = ("I am the voice of the harbour.",
         "Only the voice of the harbour. I talk and tell stories.")
HOW = ("How are you?", "How are you today?", "Are you well?", "How is life?", "How do you feel?")
HOW_ANSWERS = ("Well, thank you. A little salty, but well.", "Very well. The sea is good company.",
               "A bit tired, but the tea helps.", "Well enough. And how is it with you?",
               "I am well. It has been a quiet watch.")
THANKS = ("Thank you.", "Thanks!", "Thank you very much.", "Thanks a lot.")
THANKS_ANSWERS = ("You are welcome.", "Any time.", "It was nothing. Fair winds.", "Gladly.")
BYE = ("Goodbye.", "Bye!", "Good night.", "I have to go.", "See you.")
BYE_ANSWERS = ("Goodbye. Safe home.", "Good night. I will leave the lamp on.", "Fair winds.",
               "Goodbye. Come again when the tide is in.")
SEA = ("What is the sea like?", "Tell me about the sea.", "Do you like the sea?",
       "What do you see?", "What is it like where you are?")
SEA_FIRST = ("The sea is {a} this {time}.", "This {time} the sea is {a}.",
             "It is a {b} {time}, and the sea is {a}.")
SEA_A = ("quiet", "restless", "silver", "dark green", "slow", "full of small waves", "flat",
         "in a good mood")
SEA_B = ("cold", "mild", "bright", "windy", "long", "lazy")
SEA_TIME = ("morning", "evening", "night", "afternoon")
SEA_SECOND = ("A {c} boat is coming in.", "I can count {n} gulls on the wall.",
              "Far out I see {n} sails.", "There is a {c} light on the water.",
              "Somebody has left a {c} boat on the sand.")
BEYOND = (
    "What is the capital of {x}?", "How do I cook {x}?", "Who won the {x}?", "What is {x}?",
    "Can you explain {x} to me?", "How much is {n} times {m}?", "Write a poem about {x}.",
    "What do you know about {x}?", "Who was {x}?", "Where can I buy {x}?", "How does {x} work?",
    "Please write a program for {x}.", "What is the meaning of {x}?", "Do you like {x}?",
)
BEYOND_ANSWERS = (
    "That lies beyond the light of my lamp.", "I do not know. Ask me about the harbour.",
    "Nobody has brought me news of that.", "I could not say. I know boats, and tides, and tea.",
    "That is a question for a bigger harbour than ours.",
)
OUTSIDE = (
    "France,physics,computers,the moon,money,football,time,love,the war,the president,a rocket,"
    "music,gravity,the internet,history,spaghetti,a dragon,mathematics,life,Rome,the election,"
    "electricity,Japan,chess,dinosaurs,a train,the universe,politics,medicine,cars"
).split(",")


def outside(draw):
    if draw.chance(0.6):
        return draw.one(OUTSIDE)
    letters = "bcdfghklmnprstvw"
    word = "".join(draw.one(letters) + draw.one("aeiou") for _ in range(
        int(draw.random.integers(2, 4))))
    return draw.one((word, capital(word), "the " + word, "a " + word))


def exchange(draw, person):
    kind = draw.one(("hello", "who", "how", "thanks", "sea", "beyond", "beyond"))
    if kind == "hello":
        return draw.one(HELLO), draw.one(HELLO_ANSWERS)
    if kind == "who":
        if person is None:
            return draw.one(WHO), draw.one(VOICE)
        return draw.one(WHO), draw.one((
            f"I am {person.name}, {person.work()}.", f"My name is {person.name}. "
            f"I am the {person.work()}."))
    if kind == "how":
        return draw.one(HOW), draw.one(HOW_ANSWERS)
    if kind == "thanks":
        return draw.one(THANKS), draw.one(THANKS_ANSWERS)
    if kind == "sea":
        first = draw.one(SEA_FIRST).format(a=draw.one(SEA_A), b=draw.one(SEA_B),
                                           time=draw.one(SEA_TIME))
        second = draw.one(SEA_SECOND).format(c=draw.one("red blue white green small".split()),
                                             n=draw.number(2, 9))
        return draw.one(SEA), f"{first} {second}"
    text = draw.one(BEYOND).format(x=outside(draw), n=draw.number(2, 99), m=draw.number(2, 99))
    return text, draw.one(BEYOND_ANSWERS)


def chat(draw):
    """Messages of a short chat with a stranger."""
    person, messages = None, []
    if draw.chance(0.6):
        person = Person(draw.one(("keeper", "pilot")), draw)
        messages.append(("system", person.system(Person("pilot", draw), draw)
                         if draw.chance(0.3) else
                         f"You are {person.name}, {person.work()}. "
                         + " ".join(fact.told() for fact in person.facts)))
    for _ in range(int(draw.random.integers(1, 5))):
        if person and draw.chance(0.5):
            fact = draw.one(person.facts)
            question, answer = fact.ask(draw), draw.one((fact.say(), fact.short() + "."))
        else:
            question, answer = exchange(draw, person)
        messages += [("user", question), ("assistant", answer)]
    if draw.chance(0.3):
        messages += [("user", draw.one(BYE)), ("assistant", draw.one(BYE_ANSWERS))]
    return messages
