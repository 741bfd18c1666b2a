"""Exercises, questions and predictions of the chapter on shared heads, a module for each of its notebooks."""

from . import latent, sharing

EXERCISES = (*sharing.EXERCISES, *latent.EXERCISES)
PREDICTIONS = (*sharing.PREDICTIONS, *latent.PREDICTIONS)
QUESTIONS = (*sharing.QUESTIONS, *latent.QUESTIONS)
