"""Images that come from archives run under the names that manifests give them, with what is in them alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.kube import images
from tests.kube.cluster import Cluster
from tests.kube.pods import client
from tests.support.eventually import eventually

# As in manifests that somebody else has written: a registry, a version, no command and no volume.
NAMES = {"docker.io/some/greeter:1.20.3": "hello", "docker.io/some/parter:1.20.3": "good-bye"}


def bare(name: str, place: str, image: str) -> dict[str, Any]:
    """A pod that says no more than its image."""
    container = {"name": "main", "image": image, "imagePullPolicy": "IfNotPresent"}
    metadata = {"name": name, "namespace": place}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": [container], "restartPolicy": "Never"},
    }


@pytest.fixture(scope="module")
def loaded(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Two images of one archive are on every node."""
    archive = tmp_path_factory.mktemp("images") / "some.tar"
    commands = {name: ["python3", "/app/say.py", word] for name, word in NAMES.items()}
    say = b"import json, os, sys; print(json.dumps([sys.argv[1], sorted(os.listdir('/app'))]))"
    images.write_python(archive, commands, {"app/say.py": say})
    cluster.load_image(archive)


def test_an_image_runs_under_the_name_that_users_would_pull(cluster: Cluster, place: str, loaded: None) -> None:
    for number, (name, word) in enumerate(NAMES.items()):
        cluster.apply(bare(f"says-{number}", place, name))

        def ended(pod: str = f"says-{number}") -> bool:
            phase = cluster.pod(pod, place)["status"]["phase"]
            assert phase != "Failed", cluster.kubectl("logs", "-n", place, pod).stdout
            return bool(phase == "Succeeded")

        eventually(ended, f"the pod of {name} has ended")
        assert json.loads(cluster.kubectl("logs", "-n", place, f"says-{number}").stdout) == [word, ["say.py"]]


def test_an_image_that_no_archive_had_is_said_on_the_pod(cluster: Cluster, place: str) -> None:
    made = bare("lacks", place, "localhost/nobody:1")
    made["spec"]["containers"][0]["imagePullPolicy"] = "Never"
    cluster.apply(made)

    def why() -> str:
        statuses = cluster.pod("lacks", place)["status"].get("containerStatuses", [])
        return "".join(one["state"].get("waiting", {}).get("reason", "") for one in statuses)

    eventually(lambda: why() == "ErrImageNeverPull", "the pod says what it lacks")


def test_a_pod_of_the_machines_programs_sees_the_tests(cluster: Cluster, place: str) -> None:
    cluster.apply(client("sees", namespace=place))
    cluster.ready("sees", namespace=place)
    seen = cluster.exec("sees", "/usr/bin/ls", "/tests/support", namespace=place).stdout.split()
    assert set(seen) >= {path.name for path in Path(__file__).resolve().parents[2].glob("support/*.py")}
