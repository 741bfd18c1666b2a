"""Exercises, questions and predictions of the chapter on embeddings, a module for each of its notebooks."""

from . import context, table

EXERCISES = (*table.EXERCISES, *context.EXERCISES)
PREDICTIONS = (*table.PREDICTIONS, *context.PREDICTIONS)
QUESTIONS = (*table.QUESTIONS, *context.QUESTIONS)
