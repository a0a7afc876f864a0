"""Observables meet indicators. `reference` is the meaning; faster engines must give the same answers."""

from indicia.match.reference import Matcher, ReferenceMatcher, in_force

__all__ = ["Matcher", "ReferenceMatcher", "in_force"]
