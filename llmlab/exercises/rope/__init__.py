"""Exercises, questions and predictions of the chapter on positions, a module for each of its notebooks."""

from . import longer, rotation

EXERCISES = (*rotation.EXERCISES, *longer.EXERCISES)
PREDICTIONS = (*rotation.PREDICTIONS, *longer.PREDICTIONS)
QUESTIONS = (*rotation.QUESTIONS, *longer.QUESTIONS)
