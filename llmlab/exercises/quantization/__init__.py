"""Exercises, questions and predictions of the chapter on quantization, a module for each of its notebooks."""

from . import numbers

EXERCISES = (*numbers.EXERCISES,)
PREDICTIONS = (*numbers.PREDICTIONS,)
QUESTIONS = (*numbers.QUESTIONS,)
