"""The same road on a distributed engine: DataFrames of events to a DataFrame of detections, by Spark Connect.

    from indicia import scale

    found = scale.detect(spark.read.parquet("/lake/dns"), "/lake/feed.idx")   # batch or streaming
    scale.scan(spark, "/lake/feed.idx", ["/lake/zeek"])                       # files of any form
    scale.once(found).write.partitionBy("kind").parquet("/lake/detections")

Nothing here uses a sparkContext, an RDD or a broadcast. Workers need Indicia with its extra `arrow`, and the
index file: at a path that every worker sees, or sent by `ship`. docs/scale.md is the manual.
"""

from indicia.scale.detections import DDL, read_back
from indicia.scale.files import scan
from indicia.scale.frames import detect, once, register, session, ship
from indicia.scale.jobs import Input, Output, Retro, Topics, retro, stream

__all__ = [
    "DDL",
    "Input",
    "Output",
    "Retro",
    "Topics",
    "detect",
    "once",
    "read_back",
    "register",
    "retro",
    "scan",
    "session",
    "ship",
    "stream",
]
