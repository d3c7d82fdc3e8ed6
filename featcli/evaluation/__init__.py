"""How good a classifier is, in numbers: knows neither models nor files."""
