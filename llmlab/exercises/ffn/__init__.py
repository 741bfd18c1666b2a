"""Exercises, questions and predictions of the chapter on feed-forward layers, a module for each of its notebooks."""

from . import layer

EXERCISES = (*layer.EXERCISES,)
PREDICTIONS = (*layer.PREDICTIONS,)
QUESTIONS = (*layer.QUESTIONS,)
