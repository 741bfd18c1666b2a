"""Exercises, questions and predictions of the chapter on tokenization, a module for each of its notebooks."""

from . import bpe

EXERCISES = (*bpe.EXERCISES,)
PREDICTIONS = (*bpe.PREDICTIONS,)
QUESTIONS = (*bpe.QUESTIONS,)
