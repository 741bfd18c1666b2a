"""Exercises, questions and predictions of the chapter on training, a module for each of its notebooks."""

from . import loss, numbers, optimizers

EXERCISES = (
    *loss.EXERCISES,
    *optimizers.EXERCISES,
    *numbers.EXERCISES,
)
PREDICTIONS = (
    *loss.PREDICTIONS,
    *optimizers.PREDICTIONS,
    *numbers.PREDICTIONS,
)
QUESTIONS = (
    *loss.QUESTIONS,
    *optimizers.QUESTIONS,
    *numbers.QUESTIONS,
)
