"""Exercises, questions and predictions of the chapter on shared heads, a module for each of its notebooks."""

from . import sharing

EXERCISES = (*sharing.EXERCISES,)
PREDICTIONS = (*sharing.PREDICTIONS,)
QUESTIONS = (*sharing.QUESTIONS,)
