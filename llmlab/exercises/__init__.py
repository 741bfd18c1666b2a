"""Exercises that check themselves, questions, and predictions. A topic's are in the module of its name.

>>> from llmlab.exercises import check, hint, solution, quiz, predict, progress
"""

from .catalog import all_exercises, all_predictions, all_questions, topics
from .engine import check, hint, predict, progress, quiz, solution
from .records import Exercise, Mistake, Prediction, Question, exercise

__all__ = [
    "Exercise",
    "Mistake",
    "Prediction",
    "Question",
    "all_exercises",
    "all_predictions",
    "all_questions",
    "check",
    "exercise",
    "hint",
    "predict",
    "progress",
    "quiz",
    "solution",
    "topics",
]
