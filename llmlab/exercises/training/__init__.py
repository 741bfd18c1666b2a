"""Exercises, questions and predictions of the chapter on training, a module for each of its notebooks."""

from . import live

EXERCISES = (*live.EXERCISES,)
PREDICTIONS = (*live.PREDICTIONS,)
QUESTIONS = (*live.QUESTIONS,)
