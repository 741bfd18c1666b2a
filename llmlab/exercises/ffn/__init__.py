"""Exercises, questions and predictions of the chapter on feed-forward layers, a module for each of its notebooks."""

from . import layer, memory

EXERCISES = (*layer.EXERCISES, *memory.EXERCISES)
PREDICTIONS = (*layer.PREDICTIONS, *memory.PREDICTIONS)
QUESTIONS = (*layer.QUESTIONS, *memory.QUESTIONS)
