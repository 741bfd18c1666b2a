"""Exercises, questions and predictions of the chapter on embeddings, a module for each of its notebooks."""

from . import table

EXERCISES = (*table.EXERCISES,)
PREDICTIONS = (*table.PREDICTIONS,)
QUESTIONS = (*table.QUESTIONS,)
