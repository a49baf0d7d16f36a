"""Tests of the mixed models."""
