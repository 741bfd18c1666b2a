"""Exercises, questions and predictions of the chapter on tokenization, a module for each of its notebooks."""

from . import bpe, costs

EXERCISES = (*bpe.EXERCISES, *costs.EXERCISES)
PREDICTIONS = (*bpe.PREDICTIONS, *costs.PREDICTIONS)
QUESTIONS = (*bpe.QUESTIONS, *costs.QUESTIONS)
