"""Exercises, questions and predictions of the chapter on training, a module for each of its notebooks."""

from . import live, loss, numbers, optimizers

EXERCISES = (
    *loss.EXERCISES,
    *optimizers.EXERCISES,
    *numbers.EXERCISES,
    *live.EXERCISES,
)
PREDICTIONS = (
    *loss.PREDICTIONS,
    *optimizers.PREDICTIONS,
    *numbers.PREDICTIONS,
    *live.PREDICTIONS,
)
QUESTIONS = (
    *loss.QUESTIONS,
    *optimizers.QUESTIONS,
    *numbers.QUESTIONS,
    *live.QUESTIONS,
)
