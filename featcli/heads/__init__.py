"""Classifiers on top of a frozen backbone's features."""
