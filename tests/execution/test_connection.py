"""How a cluster is joined: what goes wrong with it, as Ray says it."""

from __future__ import annotations

import os

import pytest

from improve.errors import ClusterError
from improve.execution.cluster import connection

ADDRESS = "ray://192.0.2.1:10001"
# As Ray 2.60 said it on a busy machine.
NO_SERVER = """Initialization failure from server:
Traceback (most recent call last):
  File "proxier.py", line 772, in Datapath
    raise RuntimeError(
RuntimeError: Starting Ray client server failed. See ray_client_server_23001.err for detailed logs.
"""


class Head:
    """In Ray's place: raises what it is given, one after the other."""

    def __init__(self, *errors: Exception) -> None:
        self.errors, self.asked = list(errors), 0

    def init(self, address: str, **given: object) -> None:
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)


def test_a_server_that_did_not_come_up_is_asked_for_again() -> None:
    head = Head(RuntimeError(NO_SERVER), RuntimeError(NO_SERVER))
    connection._connect(head, ADDRESS)
    assert head.asked == 3
    with pytest.raises(ClusterError, match="cannot be joined: RuntimeError: Starting Ray client server failed"):
        connection._connect(Head(*[RuntimeError(NO_SERVER)] * 3), ADDRESS)


def test_what_does_not_pass_is_not_tried_again() -> None:
    for error in (RuntimeError("Version mismatch"), ConnectionError("ray client connection timeout")):
        head = Head(error)
        with pytest.raises(ClusterError, match=f"cannot be joined: {error}") as refused:
            connection._connect(head, ADDRESS)
        assert head.asked == 1
        assert "ray start --head" in refused.value.fix


@pytest.mark.parametrize(
    ("address", "token", "mode"),
    [(ADDRESS, "secret", "token"), (ADDRESS, "", None), ("192.0.2.1:6379", "secret", None)],
)
def test_a_client_shows_the_token_that_there_is(
    address: str, token: str, mode: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "")  # so that it is put back
    monkeypatch.delenv("RAY_AUTH_MODE")
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN", token)
    monkeypatch.setenv("HOME", str(tmp_path))
    connection._have_client_show_token(address)
    assert os.environ.get("RAY_AUTH_MODE") == mode
