"""Exercises, questions and predictions of the chapter on shared heads, a module for each of its notebooks."""

from . import latent

EXERCISES = (*latent.EXERCISES,)
PREDICTIONS = (*latent.PREDICTIONS,)
QUESTIONS = (*latent.QUESTIONS,)
