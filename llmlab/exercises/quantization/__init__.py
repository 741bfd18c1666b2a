"""Exercises, questions and predictions of the chapter on quantization, a module for each of its notebooks."""

from . import fast, forgetting, numbers

EXERCISES = (*numbers.EXERCISES, *forgetting.EXERCISES, *fast.EXERCISES)
PREDICTIONS = (*numbers.PREDICTIONS, *forgetting.PREDICTIONS, *fast.PREDICTIONS)
QUESTIONS = (*numbers.QUESTIONS, *forgetting.QUESTIONS, *fast.QUESTIONS)
