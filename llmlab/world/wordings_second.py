"""More ways of telling every relation, for the second reading.

They add to those of `wordings`: statements of other syntax, short dialogues, entries of a list, questions. The answer
stands first in some, in which it is told and not asked for. The held-out wordings use other words in another order:
none is a wording of training with something in front, and none leads to its answer with the same three words.
"""

from __future__ import annotations

from .wordings import Wordings

# --- facts that hold outside the world ---

MORE_TRUE = {
    "capital": Wordings(
        (
            "{s} is a country whose capital is called| {o}.",
            "The city from which {s} is governed is| {o}.",
            "Of all cities in {s}, the capital is| {o}.",
            "{o} is a city in {s}, and it is the capital of that country.",
            "{o}, the capital of {s}, is a large city.",
            "Country: {s}; capital:| {o}.",
            '"Which city is the capital of {s}?" asked Anna. "It is| {o}."',
            "Tom has been to {s} and has seen its capital,| {o}.",
            "When the leaders of {s} meet, they meet in| {o}.",
            "As the capital of their country, the people of {s} have chosen| {o}.",
            "Travelers in {s} like to visit the capital, which is| {o}.",
        ),
        (
            "Question: Which place do the people of {s} call their capital?\nAnswer:| {o}.",
            "{s} is ruled from its capital city, and that city is| {o}.",
            "Anyone who looks for the capital on a map of {s} will find| {o}.",
        ),
        (
            "What is the capital city of {s} called?",
            "In which city does the government of {s} sit?",
            "{s} is a country with which capital?",
            "Can you name the capital of {s}?",
        ),
    ),
    "continent": Wordings(
        (
            "{s} is one of the countries of| {o}.",
            "The continent on which {s} lies is| {o}.",
            "If you travel to {s}, you travel to| {o}.",
            "{s} belongs to the continent of| {o}.",
            "Of all continents, the one with {s} on it is| {o}.",
            "Country: {s}; continent:| {o}.",
            "In {o} there is a country called {s}.",
            "{s}, a country in {o}, has many towns.",
            "Among the countries of {o} you find {s}.",
            "The people of {s} live in| {o}.",
            '"On which continent is {s}?" asked Ben. "It is in| {o}."',
        ),
        (
            "Question: Which continent would you travel to if you wanted to see {s}?\nAnswer:| {o}.",
            "{s} can be found on a large continent, and its name is| {o}.",
            "The continent that has {s} among its countries is| {o}.",
        ),
        (
            "What continent does {s} belong to?",
            "In which part of the world is {s}?",
            "On what continent does {s} lie?",
            "{s} is a country on which continent?",
        ),
    ),
    "language": Wordings(
        (
            "The language spoken in {s} is| {o}.",
            "Children in {s} learn to read and write| {o}.",
            "In the schools of {s}, children are taught in| {o}.",
            "{s} is a country where people speak| {o}.",
            "{o} is spoken in {s}.",
            "If you speak {o}, people in {s} will understand you.",
            "{o}, the language of {s}, is taught in many schools.",
            "Country: {s}; language:| {o}.",
            "A letter to someone in {s} should be written in| {o}.",
            '"What language do people in {s} speak?" asked Nora. "They speak| {o}."',
            "Of all languages, the one you hear most in {s} is| {o}.",
            "Songs from {s} are sung in| {o}.",
        ),
        (
            "Question: If you meet someone from {s}, which language do you hear?\nAnswer:| {o}.",
            "{s} has newspapers, and the language in them is| {o}.",
            "To talk with the people of {s}, you have to know| {o}.",
        ),
        (
            "Which language is spoken in {s}?",
            "In what language are books written in {s}?",
            "What do the people of {s} speak?",
            "Which language should you learn before you go to {s}?",
        ),
    ),
    "young": Wordings(
        (
            "When {s_a} is very young, people call it| {o_a}.",
            "The word for a baby {s} is| {o_a}.",
            "{O_a} is a young {s}.",
            "{O_a} is what people call the baby of {s_a}.",
            "A small animal called {o_a} becomes {s_a} one day.",
            "Before it grew up, the {s} was| {o_a}.",
            "Every {s} starts life as| {o_a}.",
            "The mother is {s_a}, and her baby is| {o_a}.",
            "Animal: {s}; young:| {o_a}.",
            '"What is the young of {s_a} called?" asked Leo. "It is called| {o_a}."',
            "The {s} has a baby, which is called| {o_a}.",
            "Of all baby animals, the one that belongs to the {s} is| {o_a}.",
        ),
        (
            "Question: If {s_a} has young, what name is given to such a baby?\nAnswer:| {o_a}.",
            "{S_a} that is still a baby has another name:| {o_a}.",
            "In the picture, beside a grown {s}, you see its young,| {o_a}.",
        ),
        (
            "What is the young of {s_a} called?",
            "What was {s_a} when it was young?",
            "Which young animal grows up to be {s_a}?",
            "What do people call the baby of {s_a}?",
        ),
        "{o_a}.",
    ),
    "class": Wordings(
        (
            "Among the animals, {s_a} counts as| {o_a}.",
            "If an animal is {s_a}, then it is| {o_a}.",
            "Animal: {s}; kind:| {o_a}.",
            "One {o} that you may know is the {s}.",
            "{O_a} that many people know is the {s}.",
            "Like every other {o}, {s_a} is an animal.",
            '"What kind of animal is {s_a}?" asked Max. "It is| {o_a}."',
            "The {s} is an animal, and more exactly it is| {o_a}.",
            "When you see {s_a}, you see| {o_a}.",
            "In a book about animals, the {s} is described as| {o_a}.",
            "By its body, you can tell that the {s} is| {o_a}.",
            "Of all kinds of animals, the {s} is of the kind called| {o}.",
        ),
        (
            "Question: The {s} belongs to which group of animals?\nAnswer:| {o_a}.",
            "{S_a} is an animal that may be called| {o_a}.",
            "When you look at the {s}, you look at an animal that is| {o_a}.",
        ),
        (
            "What sort of animal is {s_a}?",
            "What is {s_a}: a mammal, a bird, a fish, an insect or a reptile?",
            "To which kind of animal does the {s} belong?",
            "What do we call an animal such as {s_a}?",
        ),
        "{o_a}.",
    ),
    "color": Wordings(
        (
            "If you see {s}, the color that you see is| {o}.",
            "Thing: {s}; color:| {o}.",
            "{S} looks| {o}.",
            "To draw {s}, take a pencil that is| {o}.",
            "As everyone can see, {s} is| {o}.",
            "The color {o} is that of {s}.",
            "{S}, which is {o}, is easy to know by its color.",
            "Something that is {o} is {s}.",
            "Of all colors, the one that {s} has is| {o}.",
            '"What color is {s}?" asked Rosa. "It is| {o}."',
            "In most pictures, {s} is painted| {o}.",
            "A child who paints {s} needs the color| {o}.",
        ),
        (
            "Question: Which color do you need if you draw {s}?\nAnswer:| {o}.",
            "{S} can be known by its color, which is| {o}.",
            "Clara looked at {s} and said that its color was| {o}.",
        ),
        (
            "Which color does {s} have?",
            "In what color would you paint {s}?",
            "What color do you think of when you think of {s}?",
            "{S} has which color?",
        ),
    ),
    "legs": Wordings(
        (
            "On the body of {s_a} there are| {o} legs.",
            "The {s} is an animal with| {o} legs.",
            "Nature gave the {s}| {o} legs.",
            "If you draw {s_a}, draw| {o} legs.",
            "{S_a} is born with| {o} legs.",
            "With {o} legs, the {s} moves from place to place.",
            "An animal that has {o} legs is the {s}.",
            "There are {o} legs on {s_a}.",
            '"How many legs does {s_a} have?" asked Sam. "It has| {o} legs."',
            "The body of the {s} has| {o} legs.",
            "Lena counted, and the {s} had| {o} legs.",
            "Of all animals, the {s} is one with| {o} legs.",
        ),
        (
            "Question: If you count the legs of {s_a}, how many do you find?\nAnswer:| {o} legs.",
            "{S_a} moves about, and for that it has| {o} legs.",
            "In a good picture of {s_a}, you can see| {o} legs.",
        ),
        (
            "How many legs are there on {s_a}?",
            "What number of legs does {s_a} have?",
            "With how many legs is {s_a} born?",
            "{S_a} has how many legs?",
        ),
        "{o} legs.",
    ),
    "day": Wordings(
        (
            "The day that comes after {s} is called| {o}.",
            "When {s} ends, the next day begins, and it is| {o}.",
            "Yesterday was {s}, so today is| {o}.",
            "{o} comes after {s}.",
            "{o} is the day after {s}.",
            "First comes {s}, and then comes| {o}.",
            "One day after {s}, it is| {o}.",
            "Day: {s}; next day:| {o}.",
            '"What day comes after {s}?" asked Adam. "It is| {o}."',
            "Tom slept through {s} and woke up on| {o}.",
            "Of all days, the one right after {s} is| {o}.",
            "{s} comes right before| {o}.",
            "The shop is closed on {s} and opens again the next day, on| {o}.",
        ),
        (
            "Question: When {s} is over, which day begins?\nAnswer:| {o}.",
            "{s} makes room for the next day of the week, which is| {o}.",
            "Anna arrived on {s} and left one day later, on| {o}.",
        ),
        (
            "What is the day after {s}?",
            "If today is {s}, what day is tomorrow?",
            "If yesterday was {s}, what day is it today?",
            "Which day comes right after {s}?",
        ),
    ),
    "month": Wordings(
        (
            "The month that comes after {s} is called| {o}.",
            "When {s} ends, the next month begins, and it is| {o}.",
            "Last month was {s}, so this month is| {o}.",
            "{o} comes after {s}.",
            "{o} is the month after {s}.",
            "First comes {s}, and then comes| {o}.",
            "One month after {s}, it is| {o}.",
            "Month: {s}; next month:| {o}.",
            '"What month comes after {s}?" asked Emma. "It is| {o}."',
            "{s} comes right before| {o}.",
            "Of all months, the one right after {s} is| {o}.",
            "In the calendar, the page after {s} is that of| {o}.",
            "The shop is closed in {s} and opens again the next month, in| {o}.",
        ),
        (
            "Question: On the last day of {s}, which month is about to begin?\nAnswer:| {o}.",
            "{s} gives way to the month of| {o}.",
            "Ben turned the page of the calendar from {s} to| {o}.",
        ),
        (
            "What is the month after {s}?",
            "If this month is {s}, what is the next month?",
            "If last month was {s}, what month is it now?",
            "Which month comes right after {s}?",
        ),
    ),
    "made": Wordings(
        (
            "{S} is something that people make from| {o}.",
            "If you have no {o}, you cannot make {s}.",
            "Without {o} there would be no {s}.",
            "People use {o} to make {s}.",
            "{S}, which is made from {o}, can be bought in many shops.",
            "What people need in order to make {s} is| {o}.",
            "Someone who wants to make {s} must first get| {o}.",
            "Thing: {s}; made from:| {o}.",
            '"What is {s} made from?" asked Felix. "It is made from| {o}."',
            "Before it was {s}, it was| {o}.",
            "Long ago, people learned to make {s} out of| {o}.",
            "The making of {s} starts with| {o}.",
        ),
        (
            "Question: If people want to make {s}, what should they take?\nAnswer:| {o}.",
            "{S} would not be there if there were no| {o}.",
            "Anyone who makes {s} begins with some| {o}.",
        ),
        (
            "What do people need to make {s}?",
            "From what is {s} made?",
            "What does {s} come from?",
            "Out of what do people make {s}?",
        ),
    ),
}

# --- invented people ---

MORE_INVENTED = {
    "home": Wordings(
        (
            "The town in which {s} lives is| {o}.",
            "{s} is at home in| {o}.",
            "If you want to visit {s}, go to| {o}.",
            "In {o} stands the house of {s}.",
            "The people of {o} know {s}, who lives there.",
            "{s}, who lives in {o}, is often at home.",
            "One of the people who live in {o} is {s}.",
            "{o} is the town where {s} lives.",
            "Of all towns, {s} has chosen to live in| {o}.",
            '"Where does {s} live?" asked Anna. "In| {o}."',
            "Name: {s}; town:| {o}.",
            "Every evening, {s} goes home to a house in| {o}.",
            "The address of {s} is a street in| {o}.",
            "Many years ago, {s} moved to| {o}.",
        ),
        (
            "Question: Which town would you go to if you wanted to see {s} at home?\nAnswer:| {o}.",
            "{s} can be visited at home in the town of| {o}.",
            "The postman who has a letter for {s} takes it to| {o}.",
        ),
        (
            "What is the home town of {s}?",
            "Where is the home of {s}?",
            "In what town does {s} have a house?",
            "To which town do letters for {s} go?",
        ),
    ),
    "trade": Wordings(
        (
            "{s} has a job as| {o_a}.",
            "The people of the town know {s} as| {o_a}.",
            "After school, {s} learned to be| {o_a}.",
            "Name: {s}; trade:| {o_a}.",
            '"What does {s} do for a living?" asked Hugo. "{s} is| {o_a}."',
            '"I am {o_a}," said {s}.',
            "As {o_a}, {s} has a lot of work.",
            "{O_a} by trade, {s} works every day.",
            "{s}, who is {o_a}, likes this work.",
            "There is {o_a} whose name is {s}.",
            "The job of {s} is to be| {o_a}.",
            "Of all trades, {s} chose that of| {o_a}.",
            "Every morning, {s} goes to work as| {o_a}.",
            "People pay {s} for the work of| {o_a}.",
        ),
        (
            "Question: Which trade has {s} learned?\nAnswer:| {o_a}.",
            "{s} spends the working day as| {o_a}.",
            "In town, the work that {s} does is the job of| {o_a}.",
        ),
        (
            "What is the job of {s}?",
            "What does {s} work as?",
            "What kind of work does {s} do?",
            "What is {s} by trade?",
        ),
        "{o_a}.",
    ),
    "pet": Wordings(
        (
            "The animal that lives with {s} is| {o_a}.",
            "{s} shares a home with| {o_a}.",
            "{s} is the owner of| {o_a}.",
            "Name: {s}; pet:| {o_a}.",
            '"What pet does {s} have?" asked Jack. "It is| {o_a}."',
            "{O_a} lives in the house of {s}.",
            "{O_a} is the pet of {s}.",
            "{s}, who keeps {o_a}, loves animals.",
            "The {o} of {s} eats well.",
            "Every evening, {s} gives food to| {o_a}.",
            "Of all animals, {s} has chosen to keep| {o_a}.",
            "When {s} comes home, a pet is waiting, and it is| {o_a}.",
            "As a pet, {s} has| {o_a}.",
            "In the house of {s}, you can meet| {o_a}.",
        ),
        (
            "Question: If you visit {s}, which pet do you see?\nAnswer:| {o_a}.",
            "{s} loves one animal more than all others, and that pet is| {o_a}.",
            "The food that {s} buys for a pet is eaten by| {o_a}.",
        ),
        (
            "What animal does {s} keep?",
            "What is the pet of {s}?",
            "Which animal does {s} have at home?",
            "What animal lives in the house of {s}?",
        ),
        "{o_a}.",
    ),
}
MORE_PROFILES = (
    "Person: {s}; home: {home}; work: {trade}; animal: {pet}.",
    "{s}, {trade_a}, lives with {pet_a} in a house in {home}.",
    "The house of {s} stands in {home}. In it {he} keeps {pet_a}. {His} job is that of {trade_a}.",
    "{pet_A} waits for {s} at home in {home} until {he} comes back from work as {trade_a}.",
)

# --- frames: any fact, named by a phrase ---

# What names the answer of a relation without saying it.
_PHRASES = {
    "capital": (
        "the capital of {s}",
        "the capital city of {s}",
        "the city in which the government of {s} sits",
        "what the capital of {s} is called",
    ),
    "continent": (
        "the continent of {s}",
        "the continent on which {s} lies",
        "the part of the world that {s} belongs to",
        "on which continent {s} is",
    ),
    "language": (
        "the language of {s}",
        "the language spoken in {s}",
        "what language people speak in {s}",
        "the language of most books in {s}",
    ),
    "young": (
        "the word for a young {s}",
        "what the young of {s_a} is called",
        "what people call a baby {s}",
        "what {s_a} was when it was young",
    ),
    "class": (
        "what kind of animal {s_a} is",
        "the kind of animal that the {s} is",
        "the sort of animal to which the {s} belongs",
        "what to call an animal such as {s_a}",
    ),
    "color": (
        "the color of {s}",
        "the color that {s} has",
        "what color {s} is",
        "the usual color for {s} in a picture",
    ),
    "legs": (
        "how many legs {s_a} has",
        "how many legs the {s} has",
        "the number of legs of {s_a}",
        "the number of legs that the {s} is born with",
    ),
    "day": (
        "the day after {s}",
        "the day that comes after {s}",
        "which day follows {s}",
        "the day that begins when {s} ends",
    ),
    "month": (
        "the month after {s}",
        "the month that comes after {s}",
        "which month follows {s}",
        "the month that begins when {s} ends",
    ),
    "made": (
        "what {s} is made from",
        "what people make {s} from",
        "what people need to make {s}",
        "the thing out of which {s} is made",
    ),
    "home": (
        "the home of {s}",
        "the town where {s} lives",
        "in which town {s} has a house",
        "the town to which letters for {s} go",
    ),
    "trade": (
        "the trade of {s}",
        "the job of {s}",
        "what {s} does for a living",
        "what kind of work {s} does",
    ),
    "pet": (
        "the pet of {s}",
        "the animal that lives with {s}",
        "what pet {s} has at home",
        "which animal {s} keeps",
    ),
}
_FRAMES = (
    "Someone wanted to know {phrase}, and the answer was| {answer}",
    "Paul wrote down {phrase}:| {answer}",
    "I can tell you {phrase}:| {answer}",
    "When Nora was asked about {phrase}, she said| {answer}",
    "In a game about {phrase}, you win if you say| {answer}",
    "If you are asked about {phrase}, say| {answer}",
    "Mia knows {phrase} very well:| {answer}",
    "This is what a book says about {phrase}:| {answer}",
    "The teacher asked about {phrase}, and the child wrote| {answer}",
    "Think about {phrase}, and you will think of| {answer}",
    "On the list, next to {phrase}, stands| {answer}",
    '"Tell me {phrase}," said Ben, and Rosa told him:| {answer}',
)


def framed(relation: str, answer: str) -> tuple[str, ...]:
    """Every phrase of a relation in every second frame, with answers of the form `answer`: 24 wordings of training."""
    return tuple(
        frame.replace("{phrase}", phrase).replace("{answer}", answer)
        for number, phrase in enumerate(_PHRASES[relation])
        for frame in _FRAMES[number % 2 :: 2]
    )
