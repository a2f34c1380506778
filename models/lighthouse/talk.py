"""Conversations between the keeper of a lighthouse and the pilot of a ferry.

Each of the two knows a few facts.  They greet, ask, answer, volunteer, ask
whether the other remembers, correct themselves, make a plan and say goodbye.
The same conversation is then seen from one side: that side's facts stand in the
system message, its words are the assistant's, and the other's are the user's.
"""

from .facts import Fact, KINDS, inside, of_role, second_person
from .world import SPOTS, capital

REACTIONS = (
    "Good.", "Good to know.", "Thank you.", "I will write that in the log.", "So I thought.",
    "I am glad to hear it.", "Very good.", "That is worth knowing.", "Fine.", "Well, well.",
)
COMMENTS = {
    "wind": ("That will fill the sails.", "Then the crossing will be lively.",
             "I can feel it in my knees."),
    "sky": ("I like a sky that says what it means.", "Then we shall see what comes.",
            "The gulls told me so."),
    "tide": ("The sea keeps better time than my clock.", "I will set my watch by it.",
             "Then there is time for tea."),
    "lamp": ("I will look for it.", "A good colour for a dark night.", "I shall not miss it."),
    "light": ("A fine old light.", "I have seen it from far away.", "A lonely place, but kind."),
    "pet": ("A good name.", "Say hello to {pet} from me.", "I would like to meet {pet}."),
    "oil": ("That will last.", "Use it well.", "May the nights be short."),
    "supper": ("Now I am hungry.", "Keep a plate for me.", "I can almost smell it."),
    "steps": ("My legs ache to think of it.", "That is a long way to carry oil.",
              "You must know every one of them."),
    "boat": ("A good name for a boat.", "She has a good name.", "I will look out for the {boat}."),
    "hull": ("Then I will know her.", "I will see that from the tower.", "A cheerful colour."),
    "cargo": ("People will be glad of the {goods}.", "That is a lot of {goods}.",
              "Mind the {goods} in the swell."),
    "passengers": ("A full boat is a warm boat.", "I hope they like the sea.",
                   "Tell them to hold on to their hats."),
    "guest": ("Every harbour needs a {trade}.", "Give {guest} my regards.",
              "I have never met a {trade}."),
    "bound": ("A pretty harbour.", "Mind the rocks on the way to {bound}.",
              "I have friends in {bound}."),
    "sailing": ("I will wave from the tower.", "Then you must not be late.",
                "The lamp will be lit by then."),
    "mate": ("{mate} ties a good knot.", "You can trust {mate}.", "Greet {mate} from me."),
}
REMARKS = {
    "keeper": ("The gulls are loud today.", "I have polished the glass.",
               "The kettle is singing.", "I can hear the bell buoy.",
               "The stairs get longer every year.", "A seal has been looking at me all morning.",
               "I found a blue bottle on the rocks.", "The rain has washed the windows for me."),
    "pilot": ("The engine is in a good mood.", "The deck is dry for once.",
              "There is a smell of tar and tea.", "A gull is riding on the bow.",
              "I can see your tower from here.", "The swell is slow and kind today.",
              "Somebody is playing a fiddle below.", "The coffee has gone cold again."),
}
ASK_LEADS = ("", "", "", "Tell me, ", "One more thing: ", "Now, ")
FAREWELLS = (
    "I must go now. Goodbye, {name}.", "That is all from me. Goodbye, {name}.",
    "I have work to do. Fair winds, {name}.", "Until tomorrow, {name}.",
    "Let us talk again soon. Goodbye, {name}.",
)
FAREWELL_ANSWERS = (
    "Goodbye, {name}. Safe home.", "Fair winds, {name}.", "Goodbye, {name}. Sleep well.",
    "Until next time, {name}.", "Goodbye, {name}. It was good to hear your voice.",
)
PLANS = (
    "Shall we meet at {spot} at {hour}?", "Will you come to {spot} at {hour}?",
    "Let us meet at {spot} at {hour}.",
)
PLAN_ANSWERS = (
    "Yes, at {hour} at {spot}. I will be there.", "Gladly. {Spot}, at {hour}.",
    "At {hour}, then. I know {spot} well.",
)
PLAN_QUESTIONS = (
    ("When shall we meet?", "At {hour}, as we said."),
    ("Where shall we meet?", "At {spot}, as we said."),
    ("When and where shall we meet?", "At {hour}, at {spot}."),
)
UNKNOWN = (
    "You have not told me that.", "I do not think you told me.", "That you never said.",
)
UNKNOWN_OWN = (
    "I could not tell you.", "That I do not know today.", "I would have to look. Ask me tomorrow.",
)
RECALL_LEADS = ("Do you remember? ", "What did I tell you? ", "Have you been listening? ", "Now, ")


class Person:
    def __init__(self, role, draw):
        self.role = role
        self.name = draw.person()
        self.facts = of_role(role, draw, int(draw.random.integers(3, 8)))
        self.first_facts = list(self.facts)
        self.told = []

    def fact(self, name):
        return next((fact for fact in self.facts if fact.kind.name == name), None)

    def work(self):
        return "keeper of the lighthouse" if self.role == "keeper" else "pilot of the ferry"

    def system(self, other, draw, named=False):
        where = f" You talk with {other.name}, {other.work()}."
        where = where if named else draw.one(("", where))
        first = f"You are {self.name}, {self.work()}.{where} "
        return first + " ".join(fact.told() for fact in self.first_facts)


def lower_lead(lead, sentence):
    """Joins a lead to a sentence; after a comma or colon the capital goes."""
    if lead.endswith((", ", ": ")) and not sentence.startswith("I "):
        return lead + sentence[0].lower() + sentence[1:]
    return lead + sentence


class Conversation:
    def __init__(self, draw, turns):
        self.draw = draw
        self.turns = turns
        roles = draw.some(("keeper", "pilot"), 2)
        self.people = [Person(role, draw) for role in roles]
        self.asked = [set(), set()]
        self.plan = None
        self.pending = None
        self.lines = []
        self.checks = []
        self.speak()

    def speak(self):
        self.lines.append(self.greeting())
        while len(self.lines) < 40:
            me = len(self.lines) % 2
            parts = self.answer(me)
            if parts is None:
                break
            self.pending = None
            if len(self.lines) == 1:
                parts.insert(0, self.greeting_back())
            if len(self.lines) >= self.turns:
                farewell = self.draw.one(FAREWELLS).format(name=self.people[1 - me].name)
                parts.append(farewell)
                self.pending = ("farewell",)
            else:
                parts.extend(self.go_on(me, brief=len(" ".join(parts)) > 60))
            self.lines.append(" ".join(parts))

    def greeting(self):
        me, other = self.people
        text = self.draw.one((
            "Hello, {other}. This is {me}.", "Good morning, {other}. {me} here.",
            "Good evening, {other}. This is {me}.", "Hello, {other}, {me} calling.",
            "Are you there, {other}? This is {me}.", "Good evening. This is {me}.",
        )).format(other=other.name, me=me.name)
        return " ".join([text, *self.go_on(0, brief=self.draw.chance(0.5), can_plan=False)])

    def greeting_back(self):
        return self.draw.one((
            "Hello, {name}.", "Good to hear you, {name}.", "There you are, {name}.",
            "Hello, {name}, I hear you well.", "Ah, {name}.", "Yes, I am here, {name}.",
        )).format(name=self.people[0].name)

    def answer(self, me):
        """The sentences that meet what the other said last; None when all is said."""
        draw, mine, other = self.draw, self.people[me], self.people[1 - me]
        if self.pending is None:
            return []
        what, *rest = self.pending
        if what == "question":
            fact = mine.fact(rest[0].name)
            if fact is None:
                return [draw.one(UNKNOWN_OWN)]
            if fact not in mine.told:
                mine.told.append(fact)
            said = draw.one((fact.say(), fact.say(), fact.short() + "."))
            self.checks.append((len(self.lines), fact, rest[1]))
            return [said]
        if what == "told":
            comment = draw.one(COMMENTS[rest[0].kind.name]).format(**rest[0].values)
            return [draw.one((comment, comment, draw.one(REACTIONS)))]
        if what == "recall":
            fact = rest[0]
            if fact is None:
                return [draw.one(UNKNOWN)]
            self.checks.append((len(self.lines), fact, rest[1]))
            said = inside(second_person(fact.say()))
            return [draw.one((f"You said {said}.", f"You told me {said}.",
                              f"{fact.short()}, you said.", f"{fact.short()}."))]
        if what == "plan":
            self.plan = rest[0]
            return [draw.one(PLAN_ANSWERS).format(Spot=capital(self.plan["spot"]), **self.plan)]
        if what == "plan question":
            return [rest[0].format(**self.plan)]
        if what == "correction":
            said = inside(second_person(rest[0].say()))
            return [draw.one((f"So {said}. I have changed it in the log.",
                              f"I see, {said}.", f"Right: {said}."))]
        if what == "remark":
            return [draw.one(REACTIONS)] if draw.chance(0.5) else []
        self.lines.append(draw.one(FAREWELL_ANSWERS).format(name=other.name))
        return None

    def go_on(self, me, brief, can_plan=True):
        """What the speaker adds: a fact, a remark, a question, a plan."""
        draw, mine = self.draw, self.people[me]
        parts = []
        untold = [fact for fact in mine.facts if fact not in mine.told]
        if not brief and draw.chance(0.2):
            parts.append(draw.one(REMARKS[mine.role]))
            self.pending = ("remark",)
        choice = draw.random.random()
        if choice < 0.28 and untold:
            fact = draw.one(untold)
            mine.told.append(fact)
            self.pending = ("told", fact)
            return [*parts, fact.say()]
        if choice < 0.52 and mine.told:
            return [*parts, self.recall_question(me)]
        if choice < 0.58 and mine.told and not brief:
            return [*parts, self.correct(me)]
        if choice < 0.66 and can_plan:
            if self.plan is None:
                plan = {"spot": draw.one(SPOTS), "hour": draw.one(
                    "one two three four five six seven eight nine ten".split())}
                self.pending = ("plan", plan)
                return [*parts, draw.one(PLANS).format(**plan)]
            question, said = draw.one(PLAN_QUESTIONS)
            self.pending = ("plan question", said)
            return [*parts, question]
        return [*parts, self.question(me)]

    def question(self, me):
        draw, other = self.draw, self.people[1 - me]
        open_facts = [fact for fact in other.facts
                      if fact not in other.told and fact.kind.name not in self.asked[me]]
        if open_facts and draw.chance(0.85):
            fact = draw.one(open_facts)
        else:
            kinds = [kind for kind in KINDS
                     if kind.role == other.role and kind.name not in self.asked[me]
                     and other.fact(kind.name) not in other.told]
            if not kinds:
                self.pending = ("remark",)
                return draw.one(REMARKS[self.people[me].role])
            kind = draw.one(kinds)
            fact = other.fact(kind.name) or Fact(kind, draw)
        self.asked[me].add(fact.kind.name)
        text = lower_lead(draw.one(ASK_LEADS), fact.ask(draw))
        self.pending = ("question", fact.kind, text)
        return text

    def recall_question(self, me):
        draw, mine = self.draw, self.people[me]
        untold = [kind for kind in KINDS if kind.role == mine.role
                  and kind.name not in [fact.kind.name for fact in mine.told]]
        if untold and draw.chance(0.12):
            fact, known = Fact(draw.one(untold), draw), None
        else:
            fact = known = draw.one(mine.told)
        text = lower_lead(draw.one(RECALL_LEADS), second_recall(fact, draw))
        self.pending = ("recall", known, text)
        return text

    def correct(self, me):
        """The speaker takes back a number or a word, and it counts from then on."""
        draw, mine = self.draw, self.people[me]
        old = draw.one(mine.told)
        new = Fact(old.kind, draw)
        mine.facts[mine.facts.index(old)] = new
        mine.told[mine.told.index(old)] = new
        self.pending = ("correction", new)
        return draw.one(("I was wrong before. ", "Wait, I must correct myself. ",
                         "No, I misread the log. ")) + new.say()

    def seen_by(self, side):
        """Messages of (role, text) as `side` (0 or 1) has them, without a system message."""
        return [("assistant" if index % 2 == side else "user", line)
                for index, line in enumerate(self.lines)]


def second_recall(fact, draw):
    """The question that the owner of a fact asks about it: in the first person."""
    return fact.recall(draw, they="I", their="my")


def conversation(draw, turns=None):
    """Messages of one conversation seen from one side, and the answers to judge.

    A judged answer is (index of the message, fact, question).  Facts that were
    corrected by their owner are told in the system message as they were first.
    """
    talk = Conversation(draw, turns or int(draw.random.integers(4, 11)))
    side = int(draw.chance(0.5))
    system = talk.people[side].system(talk.people[1 - side], draw)
    messages = [("system", system), *talk.seen_by(side)]
    checks = [(index + 1, fact, question) for index, fact, question in talk.checks
              if index % 2 == side]
    return messages, checks
