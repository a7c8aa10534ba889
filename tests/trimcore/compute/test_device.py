import pytest
import torch

from trimcore.compute import device
from trimcore.errors import SpecError


def test_auto_picks_an_available_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert device.resolve("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert device.resolve("auto") == torch.device("mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device.resolve("auto") == torch.device("cuda", 0)
    assert device.resolve("cuda:1") == torch.device("cuda", 1)


@pytest.mark.parametrize("name", ["cuda", "cuda:1", "mps"])
def test_an_unavailable_device_is_refused_by_name(monkeypatch, name):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(SpecError, match=f"'{name}' is not available.*'auto' picks one that is"):
        device.resolve(name)


@pytest.mark.parametrize(
    ("capabilities", "fast"), [({}, False), ({"amx_bf16": True}, True), ({"avx512_bf16": True}, True)]
)
def test_bf16_is_used_only_on_processors_that_have_it(monkeypatch, capabilities, fast):
    monkeypatch.setattr(device.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    cpu = torch.device("cpu")
    assert device.has_fast_bf16(cpu) is fast
    assert ("bf16" in device.describe(cpu)) is fast
    with device.autocast(cpu):
        assert (torch.zeros(2, 2) @ torch.zeros(2, 2)).dtype == (torch.bfloat16 if fast else torch.float32)
