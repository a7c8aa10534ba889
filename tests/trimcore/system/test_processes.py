"""Distinguish a process from others with the same pid."""

import socket
import subprocess
import sys

import psutil
import pytest

from trimcore.system import processes

OTHER_HOST = "another-" + socket.gethostname()


@pytest.fixture(params=["this platform", "without ticks"])
def me(request, monkeypatch) -> dict:
    """This process's identity, on this platform and on one without start ticks."""
    if request.param == "without ticks":
        monkeypatch.setattr(processes, "_start_ticks", lambda pid: {})
    return processes.identity()


@pytest.fixture
def child():
    """A process that exits when its stdin closes."""
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as process:
        yield process


def test_only_the_same_process_is_alive(me, child):
    assert processes.is_alive(me)
    other = processes.identity(child.pid)
    assert processes.is_alive(other)
    assert not processes.is_alive({**other, "started": 1.0, "ticks": 1}), "its pid was reused"
    assert not processes.is_alive({**me, "host": OTHER_HOST})
    for broken in (None, {}, {"pid": me["pid"], "host": me["host"]}, {**me, "pid": "x"}):
        assert not processes.is_alive(broken)
    child.stdin.close()
    child.wait()
    assert not processes.is_alive(other)


def test_a_zombie_is_not_alive(child, eventually):
    found = processes.identity(child.pid)
    child.stdin.close()
    eventually(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)
    assert not processes.is_alive(found)


@pytest.mark.skipif(sys.platform != "linux", reason="start ticks exist only on Linux")
def test_setting_the_clock_does_not_make_a_process_dead(monkeypatch):
    me, real = processes.identity(), psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: real(self) + 3600)
    assert processes.is_alive(me)
    assert not processes.is_alive({**me, "ticks": me["ticks"] + 1})
    assert not processes.is_alive({**me, "boot": "another"})


def test_identities_from_older_versions_are_understood():
    me = processes.identity()
    old = {key: me[key] for key in ("pid", "started", "host")}
    assert processes.is_alive(old)
    assert not processes.is_alive({**old, "started": me["started"] - 100})
    assert not processes.is_alive({**old, "started": None})


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_process_with_an_odd_name_has_start_ticks(tmp_path):
    strange = tmp_path / ") 1 2 (x"
    strange.symlink_to("/bin/cat")
    with subprocess.Popen([strange], stdin=subprocess.PIPE) as process:
        found = processes.identity(process.pid)
        assert found["ticks"] >= processes.identity()["ticks"]
        assert processes.is_alive(found)
