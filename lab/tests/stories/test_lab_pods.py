"""The life of pods: probes, restarts, the end; Deployments; what apply refuses and what it waits for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.eventually import eventually
from tests.support.lab import Lab


@pytest.fixture
def manifest(plain_lab: Lab, tmp_path: Path) -> Iterator[Path]:
    """A file to write a story's objects to; they are removed at its end."""
    path = tmp_path / "story.yaml"
    yield path
    if path.exists():
        plain_lab.delete(path)


def pod(name: str, script: str, rest: str = "", spec: str = "") -> str:
    """A pod that runs a shell script in the manifest's directory."""
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  terminationGracePeriodSeconds: 600
  {spec}
  containers:
  - name: c
    command: [sh, -c, {script!r}]
    {rest}
"""


def written(path: Path, but: str = "") -> str:
    """What a container's script wrote, a whole line: a container without probes counts as ready before that."""

    def text() -> str:
        found = path.read_text() if path.exists() else ""
        return found if found.endswith("\n") and found != but else ""

    return eventually(text, f"{path.name} is written").strip()


def row(lab: Lab, name: str) -> dict[str, object]:
    return lab.pods()[f"default/{name}"]


def test_a_crashed_container_comes_back(plain_lab: Lab, manifest: Path) -> None:
    manifest.write_text(pod("crash", "echo run; echo $$$$ > pid; exec sleep infinity"))
    plain_lab.apply(manifest)
    first = written(manifest.parent / "pid")
    plain_lab.exec("crash", "kill", "-9", first)
    eventually(lambda: row(plain_lab, "crash")["restarts"] == 1 and row(plain_lab, "crash")["ready"], "restarted")
    assert written(manifest.parent / "pid", but=f"{first}\n") != first
    assert plain_lab.tidegate("lab", "logs", "crash").stdout == "run\nrun\n"


def test_what_a_container_leaves_behind_dies_with_it(plain_lab: Lab, manifest: Path) -> None:
    manifest.write_text(pod("parent", "setsid sleep infinity & echo $! > child; echo $$$$ > pid; wait"))
    plain_lab.apply(manifest)
    parent, child = written(manifest.parent / "pid"), written(manifest.parent / "child")
    plain_lab.exec("parent", "kill", "-9", parent)
    eventually(lambda: not Path(f"/proc/{child}").exists(), "the orphan is gone")


def test_liveness_restarts_and_startup_gives_time(plain_lab: Lab, manifest: Path) -> None:
    script = "echo run >> runs; rm -f up; sleep 0.4; touch up; exec sleep infinity"
    probe = "{exec: {command: [test, -e, up]}, periodSeconds: 0.1, timeoutSeconds: 600, failureThreshold: %d}"
    probes = f"startupProbe: {probe % 6000}\n    livenessProbe: {probe % 2}"
    manifest.write_text(pod("live", script, probes))
    plain_lab.apply(manifest)
    assert row(plain_lab, "live")["restarts"] == 0
    (manifest.parent / "up").unlink()
    eventually(lambda: row(plain_lab, "live")["restarts"] == 1 and row(plain_lab, "live")["ready"], "restarted once")
    assert (manifest.parent / "runs").read_text() == "run\n" * 2


@pytest.mark.parametrize(
    ("probe", "ready"),
    [
        ("httpGet: {port: web, path: /ok}", True),
        ("httpGet: {port: 8080, path: /absent}", False),
        ("tcpSocket: {port: 8080}", True),
        ("tcpSocket: {port: 8081}", False),
    ],
)
def test_network_probes_decide_readiness(plain_lab: Lab, manifest: Path, probe: str, ready: bool) -> None:
    script = "mkdir -p www; echo fine > www/ok; exec /usr/bin/python3 -m http.server -d www 8080"
    probe = f"{probe}, periodSeconds: 0.1, timeoutSeconds: 60"
    rest = f"ports: [{{name: web, containerPort: 8080}}]\n    readinessProbe: {{{probe}}}"
    manifest.write_text(pod("web", script, rest))
    if ready:
        plain_lab.apply(manifest)
    else:
        tells(plain_lab, manifest, "container c: readiness probe: ")
    assert row(plain_lab, "web")["ready"] == ready


def test_a_pod_that_does_not_become_ready_is_shown_with_its_log(plain_lab: Lab, manifest: Path) -> None:
    manifest.write_text("\n" + pod("broken", "echo cannot find my hat; exit 3"))
    tells(plain_lab, manifest, "exit code 3")  # from now on there is a run of which it is known how it ended
    said = tells(plain_lab, manifest, "| cannot find my hat")
    assert "default/broken on node" in said
    assert f"({manifest}:3): container c: " in said
    assert "exit code 3" in said, "also in a moment in which it runs again"


def tells(lab: Lab, manifest: Path, reason: str) -> str:
    """Apply what does not become ready, again while it is too early for the reason; returns all that is said."""

    def said() -> str:
        done = lab.tidegate("lab", "apply", "-f", manifest, "--timeout", "2", check=False)
        assert done.returncode == 1, done
        return done.stderr if reason in done.stderr else ""

    return eventually(said, f"apply says {reason!r}")


def test_a_pod_gets_a_warning_and_time_before_it_ends(plain_lab: Lab, manifest: Path) -> None:
    script = "trap 'sleep 0.3; echo bye > farewell; exit 0' TERM; touch up; while :; do sleep 0.05; done"
    probe = "readinessProbe: {exec: {command: [test, -e, up]}, periodSeconds: 0.1, timeoutSeconds: 60}"
    manifest.write_text(pod("polite", script, probe))
    plain_lab.apply(manifest)
    plain_lab.delete(manifest)
    farewell = manifest.parent / "farewell"
    assert farewell.exists(), "it had no time to say goodbye"
    assert farewell.read_text() == "bye\n"
    assert "default/polite" not in plain_lab.pods()


def test_a_pod_that_ignores_the_warning_is_killed(plain_lab: Lab, manifest: Path) -> None:
    script = "trap '' TERM; echo $$$$ > pid; while :; do sleep 0.05; done"
    text = pod("deaf", script).replace("PeriodSeconds: 600", "PeriodSeconds: 0.3")
    manifest.write_text(text)
    plain_lab.apply(manifest)
    pid = written(manifest.parent / "pid")
    netns = Path(str(row(plain_lab, "deaf")["netns"]))
    assert netns.exists()
    plain_lab.delete(manifest)
    assert not Path(f"/proc/{pid}").exists()
    assert not netns.exists()


def test_a_pod_may_finish(plain_lab: Lab, manifest: Path) -> None:
    manifest.write_text(pod("job", "echo done", spec="restartPolicy: OnFailure"))
    plain_lab.apply(manifest)
    # Apply also returns while it still runs.
    eventually(lambda: row(plain_lab, "job")["phase"] == "Succeeded", "it has finished")
    assert row(plain_lab, "job")["restarts"] == 0
    assert plain_lab.tidegate("lab", "logs", "job").stdout == "done\n"


def test_init_containers_come_first(plain_lab: Lab, manifest: Path) -> None:
    init = "initContainers: [{name: before, command: [sh, -c, 'echo first >> order']}]"
    manifest.write_text(pod("ordered", "echo second >> order; exec sleep infinity", spec=init))
    plain_lab.apply(manifest)
    order = manifest.parent / "order"
    eventually(lambda: order.read_text().count("\n") >= 2, "both have written")
    assert order.read_text() == "first\nsecond\n"


DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: herd}
spec:
  replicas: 2
  selector: {matchLabels: {app: herd}}
  template:
    metadata: {labels: {app: herd}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - {name: c, command: [sleep, infinity], env: [{name: VERSION, value: v1}]}
"""


def test_a_deployment_scales_and_rolls(plain_lab: Lab, manifest: Path) -> None:
    def herd() -> list[str]:
        return sorted(name for name in plain_lab.pods() if name.startswith("default/herd-"))

    manifest.write_text(DEPLOYMENT)
    plain_lab.apply(manifest)
    first = herd()
    assert len(first) == 2
    assert {plain_lab.pods()[name]["node"] for name in first} == {"node1", "node2"}
    manifest.write_text(DEPLOYMENT.replace("replicas: 2", "replicas: 3"))
    plain_lab.apply(manifest)
    assert len(herd()) == 3
    assert set(first) < set(herd())
    manifest.write_text(DEPLOYMENT.replace("value: v1", "value: v2"))
    plain_lab.apply(manifest)
    assert len(herd()) == 2
    assert not set(first) & set(herd())
    assert plain_lab.exec("deploy/herd", "printenv", "VERSION").stdout == "v2\n"


def test_nothing_is_applied_when_anything_is_wrong(plain_lab: Lab, manifest: Path) -> None:
    good = pod("good", "exec sleep infinity")
    wrong = {
        "kind: Pod\nmetadata: {name: bad}": "has no apiVersion and kind",
        "a: [": "is not YAML",
        pod("bad", "true", spec="nodeName: node7"): "there is no node 'node7'; the lab has node1, node2",
        pod("bad", "true").replace(
            "name: bad,", "name: bad, namespace: nowhere,"
        ): "namespace 'nowhere' does not exist",
        pod("bad", "true").replace("command: [sh, -c, 'true']", "image: bad"): "container c needs a command",
    }
    for text, reason in wrong.items():
        manifest.write_text(good + "---\n" + text)
        done = plain_lab.tidegate("lab", "apply", "-f", manifest, check=False)
        assert done.returncode == 1
        assert str(manifest) in done.stderr
        assert reason in done.stderr
        assert "default/good" not in plain_lab.pods()
    manifest.write_text(good)


def test_the_cluster_directory_shows_pods_as_they_are(plain_lab: Lab, manifest: Path) -> None:
    revision = plain_lab.run_dir / "cluster" / "REVISION"
    before = int(revision.read_text())
    manifest.write_text(pod("shown", "exec sleep infinity"))
    plain_lab.apply(manifest)
    text = (plain_lab.run_dir / "cluster" / "pod-default_shown.yaml").read_text()
    assert "status: 'True'" in text
    assert f"podIP: {row(plain_lab, 'shown')['ip']}" in text
    assert int(revision.read_text()) > before
