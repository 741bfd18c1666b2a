"""Exercises, questions and predictions of the chapter on positions, a module for each of its notebooks."""

from . import longer

EXERCISES = (*longer.EXERCISES,)
PREDICTIONS = (*longer.PREDICTIONS,)
QUESTIONS = (*longer.QUESTIONS,)
