"""An S3 server of this machine alone, for tests; it can be stopped and started again with what it held."""

from __future__ import annotations

import os
import urllib.request
from typing import Any

import pytest


class S3:
    """moto's, on a port of loopback that stays its own."""

    def __init__(self) -> None:
        import logging

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server: Any = None
        self.port = 0
        self.start()
        self.request("PUT", "bucket")

    def start(self) -> None:
        from moto.server import ThreadedMotoServer

        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=self.port, verbose=False)
        self._server.start()
        self.port = self._server.get_host_and_port()[1]

    def stop(self) -> None:
        self._server.stop()

    def request(self, method: str, path: str) -> bytes:
        address = f"http://127.0.0.1:{self.port}/{path}"
        with urllib.request.urlopen(urllib.request.Request(address, method=method)) as answer:
            return bytes(answer.read())

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to use it: everything else of AWS' is out of reach."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }


SECRET = "a-secret-that-is-written-nowhere"


def use(server: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
