"""Exercises, questions and predictions of the chapter on gradients, a module for each of its notebooks."""

from . import descent

EXERCISES = (*descent.EXERCISES,)
PREDICTIONS = (*descent.PREDICTIONS,)
QUESTIONS = (*descent.QUESTIONS,)
