"""The data sets that are compared: which truth, which telemetry, which indicators."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from truth.lines import Truth, read_truth, telemetry_files


@dataclass(frozen=True)
class DataSet:
    """Files of one folder and the truth over them."""

    name: str
    truth: str
    folders: tuple[str, ...]
    """Where its telemetry lies; for drawn the truth's own list of files."""


DRAWN = DataSet("drawn.csv, 48 files", "drawn", ())
ALL = (
    DataSet(
        "Windows (Sysmon, Security, PowerShell)", "sd-windows-atomic", ("security-datasets/atomic/windows/",)
    ),
    DataSet("Log4Shell (Azure tables, Syslog)", "sd-log4shell", ("security-datasets/compound/Log4Shell/",)),
    DataSet(
        "Cloud (CloudTrail, S3, Entra ID, Office, Defender)",
        "cloud",
        ("security-datasets/atomic/aws/", "security-datasets/compound/GoldenSAMLADFSMailAccess/"),
    ),
    DataSet("Suricata EVE", "suricata", ("suricata-sample-data/",)),
    DataSet(
        "Zeek of Security-Datasets",
        "zeek-sd",
        ("security-datasets/compound/apt29/", "security-datasets/compound/LSASS_campaign_"),
    ),
    DataSet("EVTX (attack samples)", "evtx", ("evtx-attack-samples/",)),
    DataSet("Zeek JSON of zed-sample-data", "zeek-zed-json", ("zed-sample-data/zeek-json/",)),
    DataSet("Zeek TSV of zed-sample-data", "zeek-zed-tsv", ("zed-sample-data/zeek-default/",)),
)
SMALL = (
    DataSet(
        "Windows: discovery, execution, persistence",
        "sd-windows-atomic",
        tuple(
            f"security-datasets/atomic/windows/{part}/" for part in ("discovery", "execution", "persistence")
        ),
    ),
    *(item for item in ALL if item.truth not in {"sd-windows-atomic", "zeek-zed-json"}),
)
"""Quick enough for `make test`; drawn has the rest of Zeek."""


def files_of(data: Path, item: DataSet) -> list[str]:
    """Relative names as in the truth."""
    if not item.folders:
        names: list[str] = json.loads((data / "truth" / "drawn.files.json").read_text("utf-8"))
        return names
    return telemetry_files(data, lambda name: name.startswith(item.folders))


def truth_of(data: Path, item: DataSet) -> list[Truth]:
    """Its lines, as far as they are about its files."""
    return [line for line in read_truth(data, item.truth) if line.file.startswith(item.folders or "")]
