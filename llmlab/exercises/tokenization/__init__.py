"""Exercises, questions and predictions of the chapter on tokenization, a module for each of its notebooks."""

from . import costs

EXERCISES = costs.EXERCISES
PREDICTIONS = costs.PREDICTIONS
QUESTIONS = costs.QUESTIONS
