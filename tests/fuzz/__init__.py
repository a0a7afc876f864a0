"""The C half of matching under AddressSanitizer and UndefinedBehaviorSanitizer.

    PYTHONPATH=tests python -m fuzz --seconds 600 --seed 7

builds `_kernel.c` with both sanitizers and once more without SIMD, and drives every function of it in a
process of its own (`attack.py`), and opens damaged index files there (`damage.py`). The seed is printed; the
same seed gives the same inputs. Whatever a sanitizer finds ends the process with its report.
"""
