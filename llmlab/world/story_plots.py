"""What the world's stories are made of: plots, what happens meanwhile, how stories open, pause and end. Tables only.

`stories` weaves them together. In a template `{A}`, `{B}`, `{C}` are people, `{A_he}` their pronouns, `{t}`, `{s}`,
`{p}` … things, spots, places; the bar in a payoff stands before the word that the setup decides.
"""

from __future__ import annotations

from dataclasses import dataclass

Beat = tuple[str, ...]  # one sentence or two, in several wordings


@dataclass(frozen=True)
class Plot:
    """A small story line. The values of the slots in `key` are its content: they decide every answer."""

    name: str
    key: tuple[str, ...]
    setup: tuple[Beat, ...]
    middle: tuple[Beat, ...]
    payoff: Beat  # each wording has a bar before the word that the setup decides
    after: Beat
    questions: tuple[tuple[str, str], ...]
    cast: int = 1
    draws: tuple[str, ...] = ()
    alone: bool = False  # takes years or leads far away


PLOTS = (
    Plot(
        "put",
        ("A", "t1", "s1"),
        (
            (
                "{A} had {a_c1} {t1}.",
                "{A} had a new {t1}.",
                "{A} owned an old {t1}.",
                "{A} liked the little {t1}.",
            ),
            (
                "Before breakfast, {A_he} put the {t1} {s1}.",
                "{A} did not need the {t1} yet, so {A_he} put it {s1}.",
                "{A_He} wanted to keep the {t1} safe and put it {s1}.",
                "After school, {A} put the {t1} {s1}.",
            ),
        ),
        (),
        (
            "Later {A} wanted the {t1} again. {A_He} remembered the place and looked| {s1}.",
            "Then it was time to use the {t1}. {A} found it where {A_he} had left it,| {s1}.",
            "In the evening {A} needed the {t1}. It was still| {s1}.",
            "Where was the {t1}? {A} thought for a moment. Of course, it was| {s1}.",
        ),
        ("There it was.", "It is good to remember where things are.", "{A} was glad to have it."),
        (
            ("Where did {A} put the {t1}?", "{s1}."),
            ("What did {A} put {s1}?", "the {t1}."),
            ("Who put the {t1} {s1}?", "{A}."),
        ),
        1,
        ("t1", "s1", "c1"),
    ),
    Plot(
        "moved",
        ("A", "B", "t1", "s2"),
        (
            ("{A} left the {t1} {s1}.", "In the morning, {A} laid the {t1} {s1}."),
            (
                "While {A_he} was away, {B} took the {t1} and put it {s2}.",
                "{B} cleaned the room. {B_He} moved the {t1} and put it {s2}.",
                "Then {B} came in, picked up the {t1} and put it {s2}.",
            ),
        ),
        (),
        (
            'When {A} came back for the {t1}, it was gone. {B} said, "Look, it is| {s2}."',
            "{A} looked for the {t1} in the old place, but it was not there. Now it was| {s2}.",
            "{A} asked where the {t1} was. {B} had put it| {s2}.",
        ),
        (
            '"Thank you," said {A}. "I was worried."',
            "{A} laughed and took it.",
            "{A} was glad to see it again.",
        ),
        (
            ("Where is the {t1} now?", "{s2}."),
            ("Who moved the {t1}?", "{B}."),
            ("Where was the {t1} first?", "{s1}."),
        ),
        2,
        ("t1", "s1", "s2"),
    ),
    Plot(
        "wish",
        ("A", "B", "t1"),
        (
            (
                "{A} wished for {a_t1} more than anything else.",
                "For a long time, {A} had wished for {a_t1}.",
                "{A} often dreamed of having {a_t1}.",
            ),
            (
                "{B} knew about this wish and kept it in mind.",
                "{B} heard about the wish, but said nothing.",
                "One day {A_he} told {B} about this wish.",
            ),
        ),
        (
            ("{B} worked after school and saved some money.", "{B} went to town and looked in every shop."),
            ("Soon {A} had a birthday.", "The birthday of {A} was near."),
        ),
        (
            "On the birthday, {A} opened a box from {B}. In it was| {a_t1}.",
            "{B} came to the party with a smile and gave {A}| {a_t1}.",
            "{A} opened the present from {B} and saw| {a_t1}.",
        ),
        ("It was just what {A_he} had wished for.", "The wish had come true.", '"You remembered!" said {A}.'),
        (
            ("What did {A} wish for?", "{a_t1}."),
            ("Who knew about the wish?", "{B}."),
            ("Who had a birthday?", "{A}."),
        ),
        2,
        ("t1",),
    ),
    Plot(
        "promise",
        ("A", "B", "f1"),
        (
            (
                "{A} promised to bring {B} some {f1}.",
                '"I will bring you some {f1}," {A} said to {B}.',
                "{B} asked {A} for some {f1}, and {A} promised to bring it soon.",
            ),
        ),
        (("{A} did not forget.", "{A} thought about the promise.", "{B} waited and was patient."),),
        (
            "{A} kept the promise and brought {B} some| {f1}.",
            "There was a knock at the door. {B} opened it, and there was {A} with some| {f1}.",
            "{B} was happy, because {A} came as promised with some| {f1}.",
        ),
        ("They ate together.", "It tasted very good.", "A promise is a promise."),
        (
            ("What did {A} promise to bring?", "some {f1}."),
            ("Who promised to bring some {f1}?", "{A}."),
            ("Who got the {f1}?", "{B}."),
        ),
        2,
        ("f1",),
    ),
    Plot(
        "animal",
        ("A", "n1", "pet1"),
        (
            (
                "{A} had {a_n1} named {pet1}.",
                "{A} took care of {a_n1}. Its name was {pet1}.",
                "{pet1} was {a_n1} that belonged to {A}.",
            ),
        ),
        (
            (
                "{pet1} liked to sleep in the sun.",
                "{pet1} was hungry after a long night.",
                "One morning, {pet1} ran away through the open gate.",
                "{pet1} played in the grass.",
            ),
        ),
        (
            "Someone was waiting for {A} at the gate. It was the {n1},| {pet1}.",
            "{A} heard a noise outside. It was {pet1}, the| {n1}.",
            "In the evening, {A} called the {n1} by its name,| {pet1}.",
            "{A} was fond of {pet1}. Nobody had a better| {n1}.",
        ),
        (
            "They were good friends.",
            "{A} smiled, and they went inside.",
            "The animal came at once and was happy.",
        ),
        (
            ("What was the name of the {n1}?", "{pet1}."),
            ("What kind of animal was {pet1}?", "{a_n1}."),
            ("Who did {pet1} belong to?", "{A}."),
        ),
        1,
        ("n1", "pet1"),
    ),
    Plot(
        "lost",
        ("A", "B", "t1", "s3"),
        (
            (
                "{A} had lost the {t1}.",
                "{A} could not find the {t1}.",
                "The {t1} was gone, and {A} was sad about it.",
            ),
            (
                "{A_He} looked {s1} and {s2}, but it was not there.",
                "It was not {s1}. It was not {s2}.",
                "{A} searched {s1}, and then {s2}, and found nothing.",
            ),
            (
                '{B} said, "I saw the {t1} {s3}."',
                "But {B} had seen the {t1} {s3} and told {A}.",
                'Then {B} told {A}, "Your {t1} is {s3}."',
            ),
        ),
        (),
        (
            "{A} ran to look and found the {t1}| {s3}.",
            "{B} was right. The {t1} was| {s3}.",
            "{A} went back to look for the {t1}. And there it was,| {s3}.",
        ),
        (
            '"Thank you for your help," said {A}.',
            "{A} thanked {B} and was happy again.",
            "Now everything was well.",
        ),
        (
            ("Where was the {t1}?", "{s3}."),
            ("Who had lost the {t1}?", "{A}."),
            ("Who had seen the {t1}?", "{B}."),
        ),
        2,
        ("t1", "s1", "s2", "s3"),
    ),
    Plot(
        "trade",
        ("A", "B", "t1", "t2"),
        (
            ("{A} had {a_t1}, and {B} had {a_t2}.", "{A} owned {a_t1}. {B} owned {a_t2}."),
            (
                '"Shall we trade?" {A} asked. {B} said yes.',
                "They agreed to trade one for the other.",
                "{B} wanted to trade, and {A} agreed.",
            ),
        ),
        (("They shook hands.", "Both of them were content."),),
        (
            "{A} gave away the {t1} and went home with the| {t2}.",
            "{B} took the {t1}. So {A} now had the| {t2}.",
            "From that day on, {B} had the {t1}, and {A} had the| {t2}.",
        ),
        ("It was a fair trade.", "Neither of them was sorry.", "{A} was happy with it."),
        (
            ("Who has the {t1} now?", "{B}."),
            ("Who has the {t2} now?", "{A}."),
            ("What did {A} get from {B}?", "the {t2}."),
        ),
        2,
        ("t1", "t2"),
    ),
    Plot(
        "trip",
        ("A", "rel1", "w1"),
        (
            (
                "{A} wanted to visit {A_his} {rel1} in {w1}.",
                "The {rel1} of {A} lived in {w1}. One day {A} went on a trip to see {A_his} {rel1}.",
                '"I am going to {w1} to see my {rel1}," said {A}.',
            ),
        ),
        (
            (
                "The train left at noon.",
                "{A} took an early train.",
                "The bus was slow, but the road was pretty.",
            ),
            ("{A} ate some {f1} on the way.", "{A} had some {f1} and a bottle of water in a bag."),
            ("Outside there were green hills and small farms.", "{A} looked out of the window for hours."),
            (
                "It was a long way, and {A} slept for an hour.",
                "A woman sat down and told {A} about her farm.",
                "{A} read a book until it was noon.",
            ),
        ),
        (
            "At last {A} saw the first houses of| {w1}.",
            'A man called, "Next stop,| {w1}."',
            "At the station stood someone whom {A} knew well. It was {A_his}| {rel1}.",
        ),
        ("They had a lot to talk about.", "It was a happy visit.", "They drank tea and talked until night."),
        (
            ("Where did {A} go?", "to {w1}."),
            ("Who did {A} visit?", "{A_his} {rel1}."),
            ("Who went to {w1}?", "{A}."),
        ),
        1,
        ("rel1", "w1", "f1"),
        alone=True,
    ),
    Plot(
        "paint",
        ("A", "B", "r1", "c1"),
        (
            (
                "{A} painted the door of the {r1} {c1}.",
                "{A} had some {c1} paint and painted the door of the {r1} with it.",
                "The door of the {r1} was old, so {A} painted it {c1}.",
            ),
        ),
        (
            (
                "It took the whole morning.",
                "The work was slow, but {A_he} liked it.",
                "Then {A} washed the brushes.",
            ),
        ),
        (
            "When {B} came to the {r1}, {B_he} saw a new door. It was| {c1}.",
            "{B} asked about the new color of the door of the {r1}. {A} said that it was now| {c1}.",
            "By evening, the paint on the door of the {r1} was dry. The door was now| {c1}.",
        ),
        ('"I like it," said {B}.', "It looked very nice.", "{A} was proud of the work."),
        (
            ("What color is the door of the {r1}?", "{c1}."),
            ("Who painted the door of the {r1}?", "{A}."),
            ("Which door did {A} paint?", "the door of the {r1}."),
        ),
        2,
        ("r1", "c1"),
    ),
    Plot(
        "dream",
        ("A", "j1"),
        (
            (
                "When {A} was small, {A_he} wanted to become {a_j1}.",
                '"One day I will be {a_j1}," said {A} as a child.',
                "As a child, {A} met {a_j1} and wanted to do the same work.",
            ),
        ),
        (
            (
                "{A_He} learned a lot and worked hard.",
                "{A} read many books about it.",
                "Some people laughed, but {A} did not mind.",
            ),
            (
                "It was not always easy.",
                "A good teacher helped a lot.",
                "In the evening, {A} practiced for an hour.",
            ),
            ("The years went by.", "Many years passed.", "{A} grew up."),
        ),
        (
            "Today {A} works as| {a_j1}.",
            "Now {A} is really| {a_j1}.",
            "The dream of {A} came true, and {A_he} became| {a_j1}.",
        ),
        ("It was worth the work.", "{A} loves this work.", "Dreams can come true."),
        (
            ("What did {A} want to become?", "{a_j1}."),
            ("What is the work of {A} today?", "{a_j1}."),
            ("Who became {a_j1}?", "{A}."),
        ),
        1,
        ("j1",),
        alone=True,
    ),
    Plot(
        "meet",
        ("A", "B", "p1"),
        (
            (
                "{A} and {B} agreed to meet at the {p1}.",
                '"Let us meet at the {p1}," said {A} to {B}.',
                "{B} asked {A} to come to the {p1} later.",
            ),
        ),
        (
            (
                "First {A} had to finish some work.",
                "Before that, {A} took a short walk.",
                "{A} had a little time and read a book.",
            ),
        ),
        (
            "{A} looked at the clock and hurried. {B} was already waiting at the| {p1}.",
            "{A} walked fast, and soon {A_he} met {B} at the| {p1}.",
            "At the right time, both of them were at the| {p1}.",
        ),
        (
            "They were happy to see each other.",
            "They spent a pleasant hour there.",
            '"You are right on time," said {B}.',
        ),
        (
            ("Where did {A} meet {B}?", "at the {p1}."),
            ("Who did {A} meet at the {p1}?", "{B}."),
            ("Who met {B} at the {p1}?", "{A}."),
        ),
        2,
        ("p1",),
    ),
    Plot(
        "rain",
        ("A", "B", "i1", "o1"),
        (
            (
                '{A} said to {B}, "If it rains, we will go to the {i1}. If the sun shines, we will go to the {o1}."',
                "{A} and {B} made a plan. In the rain they would go to the {i1}, and in the sun to the {o1}.",
            ),
        ),
        (("They went to bed early.", "{B} liked the plan."),),
        (
            "The next morning it rained. So {A} and {B} went to the| {i1}.",
            "When they woke up, there was heavy rain. So {A} took {B} to the| {i1}.",
            "The next morning the sun was shining. So {A} and {B} went to the| {o1}.",
            "When they woke up, there was bright sun. So {A} took {B} to the| {o1}.",
        ),
        ("It was a fine day.", "It is good to have a plan.", "They stayed until the evening."),
        (
            ("What was the plan for rain?", "to go to the {i1}."),
            ("What was the plan for sun?", "to go to the {o1}."),
            ("Who made a plan with {B}?", "{A}."),
        ),
        2,
        ("i1", "o1"),
    ),
    Plot(
        "chain",
        ("A", "B", "C", "t1"),
        (
            ("{A} found {a_t1} at the {p1}.", "On the way to the {p1}, {A} found {a_t1}."),
            ("{A} gave the {t1} to {B}.", "{B} asked for the {t1}, and {A} gave it away."),
            ("After a while, {B} gave it to {C}.", "Then {B} gave the {t1} to {C}."),
        ),
        (("{A} did not mind.", "All of them took good care of it."),),
        (
            "So in the end the {t1} belonged to| {C}.",
            "The one who kept the {t1} was| {C}.",
            "From then on, the {t1} stayed with| {C}.",
        ),
        ("It had seen three homes.", "A good thing finds a good home.", "Everybody was content."),
        (
            ("Who has the {t1} now?", "{C}."),
            ("Who had the {t1} first?", "{A}."),
            ("Who gave the {t1} to {C}?", "{B}."),
        ),
        3,
        ("t1", "p1"),
    ),
    Plot(
        "race",
        ("A", "B", "C", "p1"),
        (
            ("{A}, {B} and {C} ran a race to the {p1}.", "There was a race from the school to the {p1}."),
            (
                "{A} came first, {B} came second, and {C} came last.",
                "{A} won. {B} came second, and {C} came last.",
                "{C} was slow and came last. {B} was faster, but {A} came first.",
            ),
        ),
        (("All of them were tired.", "They sat down and drank some water."),),
        (
            "The prize of the race went to the winner,| {A}.",
            "The prize was {a_t1}, and it was given to the winner,| {A}.",
            "The last one in the race was a good friend of theirs,| {C}.",
        ),
        ("Then they all went home together.", "Next year they will run again.", "Everybody clapped."),
        (("Who won the race?", "{A}."), ("Who came second?", "{B}."), ("Who came last?", "{C}.")),
        3,
        ("p1", "t1"),
    ),
)

OPENINGS = {
    1: (
        "{A} lived in a small house with a garden.",
        "This is a story about {A}.",
        "It was a quiet morning.",
        "{A} got up early that day.",
    ),
    2: (
        "{A} and {B} were good friends.",
        "{A} and {B} lived on the same street.",
        "One morning, {A} and {B} had breakfast together.",
        "This is a story about {A} and {B}.",
    ),
    3: (
        "{A}, {B} and {C} lived in the same village.",
        "{A} and {B} had a friend named {C}.",
        "This is a story about {A}, {B} and {C}.",
    ),
}
FILLERS = {
    1: (
        "The sun was warm that day.",
        "It was a little windy.",
        "A bird was singing in the tree.",
        "The air was fresh and clear.",
        "{A} drank a cup of tea.",
        "{A} washed the dishes and cleaned the floor.",
        "{A} went for a walk and came back after an hour.",
        "{A} was tired, so {A_he} rested for a while.",
        "{A} wrote a letter to an old friend.",
        "{A} read two pages of a good book.",
        "{A} watered the flowers because they were dry.",
        "{A} ate some {f9} because {A_he} was hungry.",
        "A neighbor came by to say hello.",
        "{A} opened the window because it was too warm.",
        "{A} sang a song about the sea.",
        "{A} closed the window because it was cold outside.",
        "{A} fed the birds, and they came close.",
        "{A} bought some {f9} at the corner shop.",
        "The clock on the tower said three.",
        "The cat from next door lay in the sun and did not move.",
        "Far away, a train passed the hill.",
        "{A} looked for a pen and made a list for the next week.",
        "{A} baked a cake, and the whole house smelled of it.",
        "{A} swept the steps and talked to the mailman.",
        "Some children were playing in the street.",
    ),
    2: (
        "{B} was tired, so {B_he} sat down for a while.",
        "{A} and {B} talked about the weather.",
        "{B} told {A} a funny story.",
        '"What a fine day," said {B}.',
        "{A} helped {B} in the garden.",
        "{A} and {B} had some {f9} for lunch.",
        "{B} made some tea and gave {A} a cup.",
        "{B} had to go to the shop, but {B_he} came back soon.",
        "{A} and {B} played a game, and {B} won.",
        "{B} asked {A} about the news.",
        "{A} showed {B} how to fold a paper boat.",
        "{B} laughed so much that {A} had to laugh too.",
    ),
    3: (
        "{C} came by and asked how they were.",
        "{C} was busy, so {C_he} could not stay long.",
        "{C} put the {t9} {s9}.",
        "{C} had just come from the {p9}.",
        "{C} showed {B} a picture of a ship.",
        "{B} helped {C} to carry some wood.",
    ),
}
BREAKS = (
    "Some time passed.",
    "Later that day, the wind grew stronger.",
    "An hour went by.",
    "Soon it was afternoon.",
    "Meanwhile the day went on.",
)
ENDINGS = {
    1: (
        "That night, {A} slept well.",
        "{A} went to bed with a smile.",
        "It had been a good day for {A}.",
        "That is the end of the story.",
    ),
    2: (
        "{A} and {B} stayed friends.",
        "That night, {A} and {B} were happy.",
        "{A} thanked {B} for a good day.",
        "That is the end of the story.",
    ),
    3: (
        "{A}, {B} and {C} remembered that day for a long time.",
        "In the end, all three of them were happy.",
        "That is the end of the story.",
    ),
}
