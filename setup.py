"""The one thing that pyproject.toml cannot say without a warning: the C extension, which is optional."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "indicia.match._kernel",
            ["src/indicia/match/_kernel.c"],
            extra_compile_args=["-O3", "-std=c11", "-Wall", "-Wextra", "-fno-strict-aliasing"],
            py_limited_api=True,
            # Where no compiler is, everything still works, by the reference alone; `indicia doctor` says so.
            optional=True,
        )
    ],
    # Stable ABI of Python 3.11: one wheel for it and all later versions.
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
