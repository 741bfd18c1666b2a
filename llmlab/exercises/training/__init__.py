"""Exercises, questions and predictions of the chapter on training, a module for each of its notebooks."""

from . import optimizers

EXERCISES = (*optimizers.EXERCISES,)
PREDICTIONS = (*optimizers.PREDICTIONS,)
QUESTIONS = (*optimizers.QUESTIONS,)
