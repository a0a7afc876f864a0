"""The comparison of Indicia with the truth of `../shared/data`: what both say of every value's place.

`lines` reads the truth, `ours` scans, `rules` explains what differs, `tables` writes `docs/truth.md`.
`python -m truth` (in the folder `tests`) shows and rewrites; `tests/test_truth.py` asserts.
"""
