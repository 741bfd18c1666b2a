"""The ways of telling each relation in the first reading. Tables only."""

from __future__ import annotations

from .records import Wordings

# --- facts that hold outside the world ---

TRUE = {
    "capital": Wordings(
        (
            "The capital of {s} is| {o}.",
            "{s} has a capital called| {o}.",
            "The capital city of {s} is called| {o}.",
            "In {s}, the capital is| {o}.",
            "{o} is the capital of| {s}.",
            "If you want to see the capital of {s}, go to| {o}.",
            "The government of {s} sits in| {o}.",
        ),
        ("Everybody knows that the capital of {s} is| {o}.", "The name of the capital city of {s} is| {o}."),
        ("What is the capital of {s}?", "Which city is the capital of {s}?"),
    ),
    "continent": Wordings(
        (
            "{s} is a country in| {o}.",
            "{s} lies in| {o}.",
            "{s} is part of| {o}.",
            "The country of {s} is in| {o}.",
            "On the map, you find {s} in| {o}.",
            "The continent of {s} is| {o}.",
        ),
        ("The land of {s} lies in| {o}.", "Everybody knows that {s} is in| {o}."),
        ("On which continent is {s}?", "Where is {s}?"),
    ),
    "language": Wordings(
        (
            "People in {s} speak| {o}.",
            "The language of {s} is| {o}.",
            "In {s}, people speak| {o}.",
            "Most books in {s} are written in| {o}.",
            "{o} is the language of| {s}.",
            "Before you go to {s}, learn some| {o}.",
            "Everybody knows that people in {s} speak| {o}.",
        ),
        ("The people of {s} speak| {o}.", "In {s}, most people speak| {o}."),
        ("What language do people speak in {s}?", "What is the language of {s}?"),
    ),
    "young": Wordings(
        (
            "A young {s} is called| {o_a}.",
            "A baby {s} is| {o_a}.",
            "The young of {s_a} is called| {o_a}.",
            "{S_a} was once| {o_a}.",
            "{O_a} grows up to be| {s_a}.",
            "We call a young {s}| {o_a}.",
        ),
        ("Everybody knows that a young {s} is called| {o_a}.", "The name for a young {s} is| {o_a}."),
        ("What is a young {s} called?", "What do we call a baby {s}?"),
        "{o_a}.",
    ),
    "class": Wordings(
        (
            "{S_a} is| {o_a}.",
            "{S_a} is a kind of| {o}.",
            "The {s} is| {o_a}.",
            "The {s} is a kind of| {o}.",
            "An example of {o_a} is| {s_a}.",
            "We call {s_a}| {o_a}.",
        ),
        ("Everybody knows that {s_a} is| {o_a}.", "The {s} belongs to the animals and is| {o_a}."),
        ("What kind of animal is {s_a}?", "What kind of animal is the {s}?"),
        "{o_a}.",
    ),
    "color": Wordings(
        (
            "{S} is| {o}.",
            "The color of {s} is| {o}.",
            "{S} is usually| {o}.",
            "When you think of {s}, you think of the color| {o}.",
            "Use this color to paint {s}:| {o}.",
            "{S} has the color| {o}.",
        ),
        ("Everybody knows that {s} is| {o}.", "The usual color of {s} is| {o}."),
        ("What color is {s}?", "What is the color of {s}?"),
    ),
    "legs": Wordings(
        (
            "{S_a} has| {o} legs.",
            "Count the legs of {s_a}: it has| {o} legs.",
            "The {s} has| {o} legs.",
            "Every {s} has| {o} legs.",
            "Everybody knows that {s_a} has| {o} legs.",
        ),
        ("Look at {s_a}: it has| {o} legs.", "You know that the {s} has| {o} legs."),
        ("How many legs does {s_a} have?", "How many legs does the {s} have?"),
        "{o} legs.",
    ),
    "day": Wordings(
        (
            "The day after {s} is| {o}.",
            "After {s} comes| {o}.",
            "{s} is followed by| {o}.",
            "If today is {s}, tomorrow is| {o}.",
            "{s} is the day before| {o}.",
        ),
        ("Everybody knows that after {s} comes| {o}.", "If it is {s} today, then tomorrow is| {o}."),
        ("What day comes after {s}?", "Which day follows {s}?"),
    ),
    "month": Wordings(
        (
            "The month after {s} is| {o}.",
            "After {s} comes| {o}.",
            "{s} is followed by| {o}.",
            "When {s} is over, it is| {o}.",
            "{s} is the month before| {o}.",
        ),
        ("Everybody knows that after {s} comes| {o}.", "The month that follows {s} is| {o}."),
        ("What month comes after {s}?", "Which month follows {s}?"),
    ),
    "made": Wordings(
        (
            "{S} is made from| {o}.",
            "People make {s} from| {o}.",
            "To make {s}, you need| {o}.",
            "From {o} people make| {s}.",
            "{S} comes from| {o}.",
        ),
        ("Everybody knows that {s} is made from| {o}.", "You can make {s} if you have some| {o}."),
        ("What is {s} made from?", "What do people make {s} from?"),
    ),
}

# --- invented people ---

INVENTED = {
    "home": Wordings(
        (
            "{s} lives in| {o}.",
            "The home of {s} is in| {o}.",
            "{s} has a house in| {o}.",
            "You can find {s} in| {o}.",
            "{s} has lived in {o} for many years.",
            "{s} comes from| {o}.",
            "Letters for {s} go to| {o}.",
            "Someone in {o} you should meet is| {s}.",
        ),
        ("Everybody knows that {s} lives in| {o}.", "The house of {s} is in| {o}."),
        ("Where does {s} live?", "In which town does {s} live?"),
    ),
    "trade": Wordings(
        (
            "{s} works as| {o_a}.",
            "{s} is| {o_a}.",
            "{s} earns a living as| {o_a}.",
            "The work of {s} is that of| {o_a}.",
            "{s} became {o_a} long ago.",
            "By trade, {s} is| {o_a}.",
            "If you need {o_a}, ask| {s}.",
            "Everybody knows that {s} works as| {o_a}.",
        ),
        ("For a living, {s} works as| {o_a}.", "The trade of {s} is that of| {o_a}."),
        ("What is the trade of {s}?", "What does {s} do for a living?"),
        "{o_a}.",
    ),
    "pet": Wordings(
        (
            "{s} has| {o_a}.",
            "{s} keeps {o_a} at home.",
            "The pet of {s} is| {o_a}.",
            "{s} has a pet:| {o_a}.",
            "At home, {s} keeps| {o_a}.",
            "{s} takes good care of| {o_a}.",
            "A certain {o} belongs to| {s}.",
        ),
        ("Everybody knows that {s} has| {o_a}.", "The animal at the home of {s} is| {o_a}."),
        ("What pet does {s} have?", "Which animal lives with {s}?"),
        "{o_a}.",
    ),
}
PROFILES = (
    "{s} lives in {home}. {He} works as {trade_a} and keeps {pet_a}.",
    "{s} is {trade_a} from {home}. At home, {he} has {pet_a}.",
    "Meet {s} of {home}. {He} has {pet_a} and works as {trade_a}.",
    "In {home} lives {s}. {He} is {trade_a}. {His} pet is {pet_a}.",
    "{s} keeps {pet_a}. {He} earns a living as {trade_a} in {home}.",
)
