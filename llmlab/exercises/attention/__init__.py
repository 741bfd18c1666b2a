"""Exercises, questions and predictions of the chapter on attention, a module for each of its notebooks."""

from . import by_hand, heads, trained

EXERCISES = (*by_hand.EXERCISES, *heads.EXERCISES, *trained.EXERCISES)
PREDICTIONS = (*by_hand.PREDICTIONS, *heads.PREDICTIONS, *trained.PREDICTIONS)
QUESTIONS = (*by_hand.QUESTIONS, *heads.QUESTIONS, *trained.QUESTIONS)
