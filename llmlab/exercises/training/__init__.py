"""Exercises, questions and predictions of the chapter on training, a module for each of its notebooks."""

from . import loss

EXERCISES = (*loss.EXERCISES,)
PREDICTIONS = (*loss.PREDICTIONS,)
QUESTIONS = (*loss.QUESTIONS,)
