r"""The command of Indicia as what `spark-submit` starts, where a cluster is used by that way alone.

    spark-submit --master spark://host:7077 --conf spark.sql.caseSensitive=true examples/spark_submit.py \
        spark retro --index /lake/feed.idx --input /lake/dns --output /lake/found

What follows the file are arguments of `indicia`; docs/scale.md has them. Indicia is installed where this
runs, and on each worker in the Python that PYSPARK_PYTHON names.
"""

from indicia.cli import main

if __name__ == "__main__":
    main()
