"""Indicia: custom threat intelligence, hosted by you."""

__version__ = "0.1.0"
