"""Exercises, questions and predictions of the chapter on gradients, a module for each of its notebooks."""

from . import autograd, descent

EXERCISES = (*descent.EXERCISES, *autograd.EXERCISES)
PREDICTIONS = (*descent.PREDICTIONS, *autograd.PREDICTIONS)
QUESTIONS = (*descent.QUESTIONS, *autograd.QUESTIONS)
