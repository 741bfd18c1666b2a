"""What the long texts of `finding` are made of: titles and sentences, by kind of text and by topic. Tables only.

`{A}`, `{B}` are people, `{A_he}` their pronouns; `{p}`, `{o}`, `{i}` places, `{f}` food, `{t}` a thing, `{c}` a color,
`{h}` an hour, `{w}` the town of the text. Colors and hours stand in slots only, so that a text can leave out those
that answer its questions.
"""

from __future__ import annotations

VISITS_THEN = (
    "{s}, the {trade} from {home}, came by and stayed for tea.",
    "In the afternoon {s} arrived, who works as {trade_a} in {home}.",
    "A letter came from {home}, written by {s}, the {trade}.",
)
VISITS_NOW = (
    "If you meet {s}, the {trade} from {home}, you will hear good stories.",
    "On holidays you may meet {s}, who works as {trade_a} in {home}.",
    "The {trade} {s} comes from {home} once a month to visit friends.",
)
VISITS = VISITS_THEN + VISITS_NOW

TITLES = {
    "notes": ("Notes from the village of {w}", "News from {w}", "What happened in {w}"),
    "diary": ("The diary of {A}", "From the diary of {A}", "The diary of {A}, written in {w}"),
    "guide": ("A short guide to {w}", "A walk through {w}", "For visitors to {w}"),
}

# In the past: for notes and diaries.
_THEN = (
    (  # weather
        "The morning began with fog over the fields, but by noon the sky was clear.",
        "A light rain fell for an hour and washed the dust from the roofs.",
        "The wind came from the sea and smelled of salt.",
        "At {h}, a few drops fell, but nobody needed an umbrella.",
        "It was so warm that {A} sat on the steps and read until dinner.",
        "Clouds gathered above the hills, and {A} took the washing inside.",
        "After the rain, a rainbow stood over the {o} for a few minutes.",
        "The air was cool and clear, and the hills looked very near.",
        "Everybody was glad about the sun after so many dark days.",
        "In the night there was thunder far away, but the storm passed to the north.",
    ),
    (  # shops
        "The baker sold the last loaf before {h}, and {A} had to come back the next day.",
        "{A} bought some {f} at the market and went home with a full basket.",
        "A new shop opened near the {p}, and it sold paper, ink and good pencils.",
        "The corner shop had {a_c} ribbon in the window, and {A} liked it very much.",
        "{A} asked the tailor to mend a coat that had lost its buttons.",
        "The shoemaker was busy all day because of the wet weather.",
        "At the market, {A} and {B} could not agree on the price of a chair.",
        "The woman in the flower shop gave {A} a few roses for free.",
        "{A} looked for a gift for {B} and chose {a_t} after a long time.",
    ),
    (  # paths
        "The path to the {o} was muddy, so {A} took the long way around.",
        "{A} and {B} walked along the river as far as the old bridge.",
        "A tree had fallen across the road, and the farmers cut it up for firewood.",
        "The sign at the crossroads was painted again, this time in {c}.",
        "Some children drew pictures with chalk on the pavement near the {p}.",
        "{A} found {a_t} beside the path and asked everyone whose it was.",
        "Workers mended the steps behind the church, and now they are safe again.",
        "{A} rode a bicycle to the {p} and came home with dust on both shoes.",
        "The small gate at the end of the lane was open all night.",
    ),
    (  # neighbors
        "{A} helped {B} to carry a heavy table up to the second floor.",
        "{A} invited the whole street to a concert in the garden.",
        "The neighbors talked over the fence about seeds, soil and the price of wood.",
        "{A} was ill for some days, and {B} brought soup every evening.",
        "{A} told {B} a story about a ship, and both of them laughed.",
        "The family next door painted their fence {c}, and most people liked it.",
        "{A} forgot {A_his} hat at the {i}, but {B} brought it back.",
        "{A} had a visitor from far away, and the lamp burned until late.",
        "{A} borrowed a ladder from {B} and returned it before {h}.",
        *VISITS_THEN[:1],
    ),
    (  # animals and gardens
        "The ducks on the pond had young, and {A} counted them from the bench.",
        "A fox was seen near the henhouse, but no hen was missing in the evening.",
        "{A} planted beans along the wall and tied them to long sticks.",
        "The roses in the garden of {A} were full of bees.",
        "An owl called from the tall oak, and the dogs answered for a while.",
        "{A} picked a basket of pears and shared them with {B}.",
        "A cat with {a_c} collar sat on the wall and watched the birds.",
        "The goats broke through the fence again and ate some of the cabbages.",
        "The old apple tree had more blossoms than ever before.",
    ),
    (  # food and evenings
        "{A} cooked a large pot of soup and gave a bowl to {B}.",
        "For dinner {A} served some {f}, and nothing was left over.",
        "In the evening, {A} played the flute, and people listened at their windows.",
        "The lights in the inn were on until late, and there was music.",
        "{A} tried a new recipe and was proud of the result.",
        "After supper, {A} and {B} played cards until the fire went out.",
        "At {h}, the bells rang, and the streets slowly became quiet.",
        "{A} put on {a_c} scarf and went out to look at the stars.",
        "The tea was strong, the bread was fresh, and nobody was in a hurry.",
    ),
    (  # school and town
        "The children learned a song about the sea and sang it at the {p}.",
        "The teacher showed the class how to read a map of the hills.",
        "The clock on the tower stopped at {h}, and nobody noticed until the next day.",
        "There was a meeting about the bridge, and {A} spoke for the farmers.",
        "{A} read a poem aloud at the {i} and was not nervous at all.",
        "The choir practiced for the summer festival, with {A} at the piano.",
        "A painter set up an easel near the {o} and worked until sunset.",
        "The mailman was late because his bicycle had a flat tire.",
        *VISITS_THEN[1:],
    ),
)
_OF_THE_VILLAGE = (
    "The village council chose {A} to look after the fountain.",
    "Next week there will be a dance near the {o}, and everyone may come.",
    "{A} is looking for someone who can teach chess on Sundays.",
    "The summer festival needs helpers, and {A} keeps the list of names.",
    "The library received a box of novels from a family that moved away.",
    "Someone left {a_t} at the {i}, and it can be picked up there.",
)
_OF_THE_WRITER = (
    "I slept well and woke before the birds began to sing.",
    "I wrote a long letter to {A} and told the news of the week.",
    "I walked to the {p} and met {A}, who was in a good mood.",
    "I mended my {c} jacket and sewed on a new button.",
    "I thought about the summer and wished it would last longer.",
    "I lent {A} {a_t}, and {A_he} promised to be careful with it.",
    "I read a few pages in bed and fell asleep with the book in my hand.",
)

# In the present: for guides.
_NOW = (
    (  # arriving and weather
        "{w} lies between low hills, and most visitors come on foot or by train.",
        "In spring the fields around {w} are full of flowers.",
        "The summers are warm, but a cool wind blows from the hills in the evening.",
        "In autumn there is often fog in the morning, so bring a warm coat.",
        "When it rains, the arcades near the market keep you dry.",
        "The winters are short, and snow rarely stays for more than a week.",
        "After a storm, the air is so clear that you can see the far mountains.",
        "The station is small, and its waiting room has {a_c} door.",
        "There is a map of {w} on the wall beside the station.",
        "In the late afternoon, the light on the old roofs is very beautiful.",
    ),
    (  # shops
        "The bakery opens early, and the smell of fresh bread fills the street.",
        "At the market you can buy some {f} and other good things from the farms.",
        "The bookshop near the {p} has a chair in which you may read all day.",
        "Look for the shop with the {c} door, where {A} sells pots and bowls.",
        "The tailor works slowly, but the coats last for many years.",
        "In the flower shop, {A} will gladly tell you the name of every plant.",
        "Most shops close at {h}, but the corner shop stays open a little longer.",
        "The clockmaker lets visitors watch while the old clocks are repaired.",
        "If you need {a_t}, try the little shop beside the old bridge.",
        "The tea shop is run by {A} and is known for its honey cake.",
    ),
    (  # paths
        "A quiet path leads from the {p} to the old bridge.",
        "Follow the wall until you come to a small gate, and then turn left.",
        "The path through the woods is marked with {c} signs.",
        "It takes about an hour to walk around the whole town.",
        "The old bridge is narrow, so carts have to wait for one another.",
        "From the top of the hill you can see the {o} and all the roofs.",
        "The steps behind the church are steep, but there is a rail to hold.",
        "Along the stream stand tall willows, and the benches there are in the shade.",
        "A sandy track leads to the {o}, where children like to play.",
        "If you lose your way, ask {A}, who knows every lane in the hills.",
    ),
    (  # people
        "{A} and {B} rent rooms to visitors and cook a good breakfast.",
        "The children of {w} like to show visitors the way to the {p}.",
        "On Sundays {A} plays the violin near the {o}, and people stop to listen.",
        "{A} can tell you how the old tower was built.",
        "The people here are friendly and like to talk about the weather.",
        "{A} looks after the garden behind the {i} and grows roses and tulips there.",
        "Most families have lived here for a long time and know each other well.",
        "{A} paints small pictures of the town and gives most of them away.",
        *VISITS_NOW,
    ),
    (  # animals and gardens
        "Ducks and swans live on the pond, and you may feed them with oats.",
        "The public garden is free, and its gate is open until {h}.",
        "In the old oak lives an owl that calls on clear nights.",
        "Goats graze on the slopes, and their bells can be heard from far away.",
        "The cats of the harbor sleep on the nets and wait for the fishermen.",
        "The rose garden is at its best in June, when all the beds are full.",
        "A large chestnut tree gives shade to the benches near the {p}.",
        "Behind the church there is a small garden with herbs and {a_c} bench.",
        "In the evening you can watch the bats fly out of the tower.",
    ),
    (  # eating and evenings
        "The inn serves soup, fresh fish and, on Sundays, a very good roast.",
        "For lunch, many people take some {f} to the {o} and have a picnic there.",
        "In the evening there is often music in the yard of the inn.",
        "At {h}, the cook tells the guests what is for dinner.",
        "The lamps along the water are lit at sunset, and the streets become quiet.",
        "A small kitchen near the {p} makes the best pancakes of the region.",
        "The cider comes from the orchards on the other side of the hill.",
        "{A} bakes plum cake every Friday, and it is sold out quickly.",
        "On warm nights, people sit on their steps and talk until late.",
    ),
    (  # sights
        "The ceiling of the church is painted {c}, and the benches are carved from oak.",
        "In the museum you can see old tools, coins and a model of a ship.",
        "The clock on the tower strikes at {h}, and pigeons fly up from the roof.",
        "The oldest house stands near the {o} and has a carved door.",
        "The theater is small, but its plays are loved in the whole region.",
        "A stone beside the {p} shows how high the water once stood.",
        "In the school hangs a large map that was drawn by {A}.",
        "The windmill still turns, and on Saturdays you can see how flour is made.",
        "At the fair in August, {A} and {B} always win the sack race.",
        "Do not miss the library, where the oldest books lie under glass.",
    ),
)

FRAMES = {
    "notes": (*_THEN, _OF_THE_VILLAGE),
    "diary": (*_THEN, _OF_THE_WRITER),
    "guide": _NOW,
}
