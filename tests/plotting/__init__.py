"""Tests of the pictures: the arrays that they draw, and what is drawn."""
