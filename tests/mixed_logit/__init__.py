"""Tests of the logistic mixed model and its engines."""
