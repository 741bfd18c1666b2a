"""Exercises, questions and predictions of the chapter on training, a module for each of its notebooks."""

from . import loss, numbers

EXERCISES = (
    *loss.EXERCISES,
    *numbers.EXERCISES,
)
PREDICTIONS = (
    *loss.PREDICTIONS,
    *numbers.PREDICTIONS,
)
QUESTIONS = (
    *loss.QUESTIONS,
    *numbers.QUESTIONS,
)
