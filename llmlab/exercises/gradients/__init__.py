"""Exercises, questions and predictions of the chapter on gradients, a module for each of its notebooks."""

from . import autograd, descent, networks, sequences

EXERCISES = (*descent.EXERCISES, *autograd.EXERCISES, *networks.EXERCISES, *sequences.EXERCISES)
PREDICTIONS = (*descent.PREDICTIONS, *autograd.PREDICTIONS, *networks.PREDICTIONS, *sequences.PREDICTIONS)
QUESTIONS = (*descent.QUESTIONS, *autograd.QUESTIONS, *networks.QUESTIONS, *sequences.QUESTIONS)
