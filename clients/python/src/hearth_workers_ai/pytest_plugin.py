"""The fixtures ``hearth`` (a running one, for the whole session) and ``hearth_environment``."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator

import pytest

from hearth_workers_ai import Hearth


@pytest.fixture(scope="session")
def hearth() -> Iterator[Hearth]:
    """The hearth of HEARTH_URL, else one that is started on a free port for these tests.

    HEARTH_COMMAND is the program (``hearth``), with more arguments if need be.
    """
    if os.environ.get("HEARTH_URL"):
        yield Hearth()
        return
    program, *options = shlex.split(os.environ.get("HEARTH_COMMAND") or "hearth")
    command = [program, "serve", "--listen", "127.0.0.1:0", *options]
    try:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    except OSError as error:
        pytest.fail(f"{program} cannot be run ({error}); set HEARTH_COMMAND or HEARTH_URL")
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        _, found, url = line.strip().partition(" listens on ")
        if not found:
            pytest.fail(f"{shlex.join(command)} did not say where it listens, but {line!r}")
        yield Hearth(url=url)
    finally:
        server.terminate()
        try:
            server.wait(timeout=30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@pytest.fixture
def hearth_environment(hearth: Hearth, monkeypatch: pytest.MonkeyPatch) -> Hearth:
    """The same, with the variables set that clients read."""
    for name, value in hearth.environment().items():
        monkeypatch.setenv(name, value)
    return hearth
