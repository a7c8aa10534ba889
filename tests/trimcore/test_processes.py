"""Telling a process from others that have, or had, its pid."""

import socket
import subprocess
import sys

import psutil
import pytest

from trimcore.system import processes

OTHER_HOST = "another-" + socket.gethostname()


@pytest.fixture(params=["as here", "without ticks"])
def me(request, monkeypatch) -> dict:
    """This process as it names itself, here and where nothing is told of ticks."""
    if request.param == "without ticks":
        monkeypatch.setattr(processes, "_since_boot", lambda pid: {})
    return processes.identity()


@pytest.fixture
def child():
    """A process that ends when its input does."""
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as process:
        yield process


def test_only_the_very_same_process_is_alive(me, child):
    assert processes.is_alive(me)
    other = processes.identity(child.pid)
    assert processes.is_alive(other)
    assert not processes.is_alive({**other, "started": 1.0, "ticks": 1}), "its pid was used again"
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


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only the time of day is known")
def test_setting_the_clock_kills_nobody(monkeypatch):
    me, real = processes.identity(), psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: real(self) + 3600)
    assert processes.is_alive(me)
    assert not processes.is_alive({**me, "ticks": me["ticks"] + 1})
    assert not processes.is_alive({**me, "boot": "another"})


def test_what_an_older_version_wrote_is_understood():
    me = processes.identity()
    old = {key: me[key] for key in ("pid", "started", "host")}
    assert processes.is_alive(old)
    assert not processes.is_alive({**old, "started": me["started"] - 100})
    assert not processes.is_alive({**old, "started": None})


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_a_process_with_a_strange_name_is_told_too(tmp_path):
    strange = tmp_path / ") 1 2 (x"
    strange.symlink_to("/bin/cat")
    with subprocess.Popen([strange], stdin=subprocess.PIPE) as process:
        found = processes.identity(process.pid)
        assert found["ticks"] >= processes.identity()["ticks"]
        assert processes.is_alive(found)
