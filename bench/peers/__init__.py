"""What `bench/match.py` measures with: data from a seed, the ways to scan them, and turns."""
