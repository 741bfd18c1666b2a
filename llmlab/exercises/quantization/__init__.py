"""Exercises, questions and predictions of the chapter on quantization, a module for each of its notebooks."""

from . import forgetting, numbers

EXERCISES = (*numbers.EXERCISES, *forgetting.EXERCISES)
PREDICTIONS = (*numbers.PREDICTIONS, *forgetting.PREDICTIONS)
QUESTIONS = (*numbers.QUESTIONS, *forgetting.QUESTIONS)
