"""Exercises, questions and predictions of the chapter on gradients, a module for each of its notebooks."""

from . import autograd, descent, sequences

EXERCISES = (*descent.EXERCISES, *autograd.EXERCISES, *sequences.EXERCISES)
PREDICTIONS = (*descent.PREDICTIONS, *autograd.PREDICTIONS, *sequences.PREDICTIONS)
QUESTIONS = (*descent.QUESTIONS, *autograd.QUESTIONS, *sequences.QUESTIONS)
