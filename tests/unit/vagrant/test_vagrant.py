"""vagrant/: its parts agree with each other; whether a machine comes up only a machine can show."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

VAGRANT = Path(__file__).resolve().parents[3] / "vagrant"
VAGRANTFILE = (VAGRANT / "Vagrantfile").read_text()
PROVISION = (VAGRANT / "provision.sh").read_text()
README = (VAGRANT / "README.md").read_text()
PAGES = ("PAGE", "DASHBOARD")


@pytest.mark.parametrize("script", sorted(VAGRANT.glob("*.sh")), ids=lambda path: path.name)
def test_scripts_are_bash_and_may_be_executed(script: Path) -> None:
    done = subprocess.run(["bash", "-n", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert script.stat().st_mode & 0o111


def test_the_script_gets_every_variable_that_it_demands() -> None:
    demanded = set(re.findall(r"\$\{(\w+):\?", PROVISION))
    given = set(re.findall(r'"(\w+)" => \w+', VAGRANTFILE))
    assert demanded == given
    assert given == {"CHECKOUT", *(f"{page}_{side}" for page in PAGES for side in ("PORT", "FORWARDED"))}


def test_a_port_of_the_guest_is_written_once() -> None:
    ports = dict(re.findall(r"^(\w+_(?:PORT|FORWARDED)) = (\d+)$", VAGRANTFILE, re.MULTILINE))
    assert len(ports) == len(set(ports.values())) == 2 * len(PAGES), "listeners of one machine: loopback, everywhere"
    assert not re.search(rf"\b({'|'.join(ports.values())})\b", PROVISION)
    for page in PAGES:
        assert VAGRANTFILE.count(ports[f"{page}_FORWARDED"]) == 1
        assert f'guest: {page}_FORWARDED, host: HOST_{page}_PORT, host_ip: "127.0.0.1"' in VAGRANTFILE


def test_a_provisioning_may_meet_a_running_proxy_and_a_start_under_way() -> None:
    """systemd refuses to start a socket whose service runs, and runs ExecStop only after a start that succeeded."""
    assert "Requires=$1.socket\n" in PROVISION
    assert re.search(r"^ExecStopPost=.* lab down$", PROVISION, re.MULTILINE)
    assert "KillMode" not in PROVISION, "what an interrupted start had begun ends with the unit's cgroup"


def test_every_variable_of_the_readme_is_read_and_has_that_default() -> None:
    read = dict(re.findall(r'ENV\.fetch\("(TIDEGATE_VAGRANT_\w+)", "([^"]+)"\)', VAGRANTFILE))
    assert set(re.findall(r"`(TIDEGATE_VAGRANT_\w+)`", README)) == set(read)
    for default in read.values():
        assert default in README
    assert f"http://127.0.0.1:{read['TIDEGATE_VAGRANT_PORT']}/productpage" in README
    assert re.search(rf"http://127.0.0.1:{read['TIDEGATE_VAGRANT_DASHBOARD_PORT']}/\s", README)


def test_files_that_are_named_exist() -> None:
    for text in (VAGRANTFILE, PROVISION, README):
        for name in re.findall(r"\b(?:vagrant/)?([a-z]+\.sh)\b", text):
            assert (VAGRANT / name).is_file(), name
