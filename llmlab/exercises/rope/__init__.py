"""Exercises, questions and predictions of the chapter on positions, a module for each of its notebooks."""

from . import rotation

EXERCISES = (*rotation.EXERCISES,)
PREDICTIONS = (*rotation.PREDICTIONS,)
QUESTIONS = (*rotation.QUESTIONS,)
