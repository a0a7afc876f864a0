"""What is in deploy/: linters of others pass it, and it says of settings and times what the code says."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from indicia.cli import COMMANDS
from indicia.settings import TABLE
from indicia.web import serve, workers
from service import Local

pytestmark = pytest.mark.full
ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
CONTAINERFILE = (DEPLOY / "container" / "Containerfile").read_text("utf-8")
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
EXPOSED = 20
"""Of 100, the most that `systemd-analyze security` may find exposed of a unit; its best word is for less."""


def tool(name: str, *arguments: str) -> str:
    """What a linter of this environment says; nothing wrong."""
    command = [str(Path(sys.executable).parent / name), *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_linters_pass_what_is_there() -> None:
    assert tool("hadolint", "deploy/container/Containerfile") == ""
    assert tool("yamllint", "--strict", "deploy") == ""
    schema = ("--builtin-schema", "vendor.compose-spec")
    tool("check-jsonschema", *schema, "deploy/container/compose.yaml")


def objects() -> Iterator[dict[str, Any]]:
    """What Kubernetes is told."""
    for path in sorted(KUBERNETES.glob("*.yaml")):
        if path.name != "kustomization.yaml":
            yield from yaml.safe_load_all(path.read_text("utf-8"))


def the(kind: str) -> dict[str, Any]:
    """The object of a kind."""
    (found,) = (one for one in objects() if one["kind"] == kind)
    return found


def test_kubernetes_knows_every_property() -> None:
    for one in objects():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            kubernetes_validate.validate(one, "1.31", strict=True)
    listed = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text("utf-8"))["resources"]
    assert sorted(listed) == sorted(path.name for path in KUBERNETES.glob("*.yaml") if path.name in listed)
    assert len(listed) == len(list(KUBERNETES.glob("*.yaml"))) - 1


def test_kustomize_puts_them_together() -> None:
    if not shutil.which("kubectl"):
        pytest.skip("there is no kubectl here: the kustomization is not put together")
    command = ["kubectl", "kustomize", str(KUBERNETES)]
    made = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    found = {one["kind"]: one for one in yaml.safe_load_all(made.stdout)}
    assert found.keys() == {one["kind"] for one in objects()}
    containers = found["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert containers[0]["image"].startswith("registry.example/indicia:")


def containers() -> list[dict[str, Any]]:
    """Of a pod, those that come first among them."""
    pod = the("Deployment")["spec"]["template"]["spec"]
    found: list[dict[str, Any]] = pod["initContainers"] + pod["containers"]
    return found


def test_a_pod_may_do_what_it_must_and_no_more() -> None:
    """As the profile `restricted` of the Pod Security Standards asks, and no file system to write."""
    pod = the("Deployment")["spec"]["template"]["spec"]
    user = re.search(r"^USER (\d+):(\d+)$", CONTAINERFILE, re.MULTILINE)
    assert user
    security = pod["securityContext"]
    assert security["runAsNonRoot"] is True
    assert (security["runAsUser"], security["fsGroup"]) == (int(user[1]), int(user[2]))
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for one in containers():
        assert one["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} <= one["resources"]["limits"].keys() & one["resources"]["requests"].keys()
    assert the("Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_selectors_meet_the_pods() -> None:
    labels = the("Deployment")["spec"]["template"]["metadata"]["labels"]
    for found in (
        the("Deployment")["spec"]["selector"]["matchLabels"],
        the("Service")["spec"]["selector"],
        the("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        the("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ):
        assert found == labels
    assert the("Deployment")["spec"]["replicas"] > the("PodDisruptionBudget")["spec"]["minAvailable"]


def test_probes_ask_what_is_answered(service: Local) -> None:
    probes = [one[name]["httpGet"] for one in containers() for name in one if name.endswith("Probe")]
    assert [probe["scheme"] for probe in probes] == ["HTTPS"] * 3
    checked = re.findall(r"'(/\w+)', timeout", CONTAINERFILE)
    assert checked
    for path in {probe["path"] for probe in probes} | {*checked}:
        assert service.request("GET", path).status in (200, 503)  # nothing is loaded in a test


def test_settings_that_are_named_are_settings() -> None:
    known = {f"INDICIA_{name.upper()}" for name, _, _ in TABLE} | {"INDICIA_HOME"}
    texts = [path.read_text("utf-8") for path in DEPLOY.rglob("*") if path.is_file()]
    named = {word for text in texts for word in re.findall(r"\bINDICIA_[A-Z_]+\b", text)}
    assert named <= known
    assert "INDICIA_DATABASE" in named


def test_commands_that_are_named_are_commands() -> None:
    words = {one["args"][0] for one in containers()}
    words |= {found for path in UNITS for found in re.findall(r"bin/indicia (\w+)", path.read_text("utf-8"))}
    assert {"serve", "store", "watch"} <= words <= COMMANDS.keys()


def test_who_ends_the_service_lets_it_finish() -> None:
    longest = workers.GRACE
    assert longest > serve.GRACE_SECONDS
    unit = (DEPLOY / "systemd" / "indicia.service").read_text("utf-8")
    stop = re.search(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    assert stop
    assert int(stop[1]) > longest
    pod = the("Deployment")["spec"]["template"]["spec"]
    waits = int(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > longest + waits
    composed = yaml.safe_load((DEPLOY / "container" / "compose.yaml").read_text("utf-8"))["services"][
        "indicia"
    ]
    assert int(composed["stop_grace_period"].removesuffix("s")) > longest
    assert composed["read_only"] is True
    assert composed["cap_drop"] == ["ALL"]


def test_a_new_container_keeps_the_authority_and_the_health_check() -> None:
    """The certificate names the container's host; an image in Podman's own format has no health check."""
    text = (DEPLOY / "container" / "compose.yaml").read_text("utf-8")
    composed = yaml.safe_load(text)["services"]["indicia"]
    assert re.fullmatch(r"[a-z]+", composed["hostname"])
    assert re.search(r"^ENV (?:.*\n)*?    INDICIA_HOST=0\.0\.0\.0$", CONTAINERFILE, re.MULTILINE)
    built = re.findall(
        r"podman build .*", CONTAINERFILE + (ROOT / "docs" / "operations.md").read_text("utf-8")
    )
    assert len(built) == 2
    assert all(one.startswith("podman build --format docker ") for one in built)


def test_git_passes_over_the_file_of_the_password() -> None:
    assert "the file .env" in (DEPLOY / "container" / "compose.yaml").read_text("utf-8")
    assert ".env" in (ROOT / ".gitignore").read_text("utf-8").splitlines()


def test_libpq_is_given_a_file_that_it_takes() -> None:
    """Credentials have mode 0440 from systemd 254 on, which it refuses; commands do as the drop-in does."""
    dropped = (DEPLOY / "systemd" / "postgresql.conf").read_text("utf-8")
    values = dict(re.findall(r"^([A-Z]\w+)=(.*)$", dropped, re.MULTILINE))
    kept = f"%t/{values['RuntimeDirectory']}/pgpass"
    assert values["ExecStartPre"] == f"/usr/bin/install -m 400 %d/pgpass {kept}"
    assert values["Environment"] == f"PGPASSFILE={kept}"
    assert values["RuntimeDirectoryMode"] == "0700"
    script = (DEPLOY / "systemd" / "indicia").read_text("utf-8")
    for name in ("LoadCredential", "RuntimeDirectoryMode"):
        assert f"--property={name}={values[name]} " in script.replace("\\\n", " ")
    assert '--property=RuntimeDirectory="$unit" ' in script
    assert 'to="/run/$unit/pgpass"' in script
    assert '--property=ExecStartPre="/usr/bin/install -m 400 $from $to"' in script
    assert '--setenv=PGPASSFILE="$to"' in script


def test_commands_run_where_their_user_may_not_be() -> None:
    """Root stands in /root; a folder that cannot be entered is not the end of a command."""
    script = (DEPLOY / "systemd" / "indicia").read_text("utf-8")
    assert '--property=WorkingDirectory="-$PWD"' in script
    assert "--same-dir" not in script


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The units with an Indicia that is there, and the password of a database."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("there is no systemd-analyze here: units of systemd are not checked")
    folder = tmp_path_factory.mktemp("units")
    ours = str(Path(sys.executable).parent / "indicia")
    for path in UNITS:
        text = path.read_text("utf-8").replace("/opt/indicia/bin/indicia", ours)
        (folder / path.name).write_text(text, "utf-8")
        dropped = folder / f"{path.name}.d"
        dropped.mkdir()
        shutil.copy(DEPLOY / "systemd" / "postgresql.conf", dropped)
    return sorted(folder.glob("*.service"))


def test_systemd_understands_the_units(units: list[Path]) -> None:
    for path in units:
        ran = subprocess.run(
            ["systemd-analyze", "verify", str(path)], capture_output=True, text=True, timeout=60
        )
        about = [line for line in ran.stderr.splitlines() if "indicia" in line]
        assert about == []
        assert ran.returncode == 0, ran.stderr


def test_units_expose_little(units: list[Path]) -> None:
    for path in units:
        command = ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSED}", str(path)]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert ran.returncode == 0, ran.stdout[-400:] + ran.stderr
