"""Exercises, questions and predictions of the chapter on the KV cache, a module for each of its notebooks."""

from . import costs, derived

EXERCISES = (*derived.EXERCISES, *costs.EXERCISES)
PREDICTIONS = (*derived.PREDICTIONS, *costs.PREDICTIONS)
QUESTIONS = (*derived.QUESTIONS, *costs.QUESTIONS)
