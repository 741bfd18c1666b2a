"""Exercises, questions and predictions of the chapter on quantization, a module for each of its notebooks."""

from . import fast, forgetting, numbers, solved

EXERCISES = (*numbers.EXERCISES, *forgetting.EXERCISES, *solved.EXERCISES, *fast.EXERCISES)
PREDICTIONS = (*numbers.PREDICTIONS, *forgetting.PREDICTIONS, *solved.PREDICTIONS, *fast.PREDICTIONS)
QUESTIONS = (*numbers.QUESTIONS, *forgetting.QUESTIONS, *solved.QUESTIONS, *fast.QUESTIONS)
