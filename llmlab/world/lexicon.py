"""The words of the world: names, things, places, animals, colors, and the small rules that join them."""

from __future__ import annotations


def words(text: str) -> tuple[str, ...]:
    """The words of a text, as a tuple."""
    return tuple(text.split())


GIRLS = (
    "Anna",
    "Mia",
    "Lena",
    "Rosa",
    "Clara",
    "Emma",
    "Nora",
    "Ida",
    "Ella",
    "Julia",
    "Sara",
    "Lucy",
    "Mei",
)
BOYS = ("Tom", "Ben", "Max", "Paul", "Leo", "Sam", "Jack", "Oscar", "Felix", "Adam", "Hugo", "Noah", "Wei")
NAMES = (*GIRLS, *BOYS)

# Things that a child can carry and that fit into a drawer.
THINGS = words("""
    key book map letter cup ball kite ring drum flute clock coin scarf hat umbrella mirror candle camera
    pencil shell bell bottle whistle doll spoon brush hammer rope violin compass notebook puzzle lamp
    glove""")
SPOTS = (
    "in the drawer",
    "in the cupboard",
    "in the chest",
    "in the wardrobe",
    "in the blue bag",
    "in the old basket",
    "on the shelf",
    "on the table",
    "on the desk",
    "on the piano",
    "under the bed",
    "under the bench",
    "under the stairs",
    "behind the door",
    "behind the sofa",
    "beside the stove",
)
ROOMS = words("kitchen attic cellar barn hall bedroom library workshop office shed garage")
PLACES = words("market park river lake fountain station beach bakery harbor museum mill square")
INDOORS = words("museum bakery theater cinema library station")
OUTDOORS = words("park river lake beach harbor market")
FOODS = words("bread soup cake honey cheese rice apples pears cookies plums nuts pancakes")
COLORS = words("red blue green yellow white black brown gray pink purple orange")
ANIMALS = words("dog cat horse cow goat sheep duck hen rabbit donkey pony fox")
PETS = words("dog cat rabbit parrot goose turtle hamster pony goat owl duck hedgehog")
PET_NAMES = words("Bruno Luna Coco Otto Bella Rex Misty Pepper Biscuit Ginger Pip Toby")
RELATIVES = words("aunt uncle cousin sister brother grandmother grandfather")
TOWNS = words("""
    Ashford Birchwell Cedarton Dunmore Elmstead Fernhill Glenbrook Hazelwick Ivybridge Junewell
    Kingsmoor Larkfield Millhaven Northgate Oakridge Pinecrest Quarrytown Redwater Stonebury Thornbury
    Upperdale Vinefield Westerly Yarrowby Amberley Brightsea Coldspring Driftwood Eastholm Foxbridge""")
TRADES = words("""
    baker teacher doctor farmer painter tailor sailor gardener carpenter musician writer nurse cook
    fisher miller potter pilot singer driver builder weaver dentist librarian clockmaker photographer
    mechanic engineer actor beekeeper shoemaker""")
NUMBERS = words("zero one two three four five six seven eight nine ten eleven twelve")

# For lists to copy: common words of the world, without meaning for one another.
_MORE_WORDS = words("""
    sun moon star rain snow wind cloud stone sand grass tree leaf flower root seed garden road
    bridge boat train bus wheel window wall roof chair floor bed door house tower school shop street
    village city hill island king queen child friend morning evening night summer winter spring song
    story word picture game gift paper milk tea coffee water salt sugar butter egg fish bird bee
    wolf lion tiger whale""")
LIST_WORDS = tuple(
    dict.fromkeys((*THINGS, *ROOMS, *PLACES, *FOODS, *COLORS, *ANIMALS, *NUMBERS, *RELATIVES, *_MORE_WORDS))
)


def a(word: str) -> str:
    """The word with its article.

    >>> a("owl"), a("key"), a("umbrella")
    ('an owl', 'a key', 'an umbrella')
    """
    return ("an " if word[0] in "aeiou" else "a ") + word


def forms(role: str, name: str) -> dict[str, str]:
    """The slots of a person who plays a role in a template: name and pronouns.

    >>> forms("A", "Rosa")["A_his"]
    'her'
    """
    he, his, him = ("she", "her", "her") if name in _FEMALE else ("he", "his", "him")
    return {
        role: name,
        f"{role}_he": he,
        f"{role}_He": he.title(),
        f"{role}_his": his,
        f"{role}_His": his.title(),
        f"{role}_him": him,
    }


_FEMALE = set(GIRLS)
PERSON = {role: {name: forms(role, name) for name in NAMES} for role in "ABC"}
WITH_ARTICLE = {word: a(word) for word in (*THINGS, *COLORS, *PETS, *ANIMALS, *TRADES)}
