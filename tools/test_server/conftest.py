"""Starts `facet serve` for the tests: FACET_BINARY (default: the release build), FACET_MODEL (default: the demo model),
FACET_SERVE_ARGS for more options."""

import os
import pathlib
import re
import signal
import subprocess
import time
import urllib.request

import openai
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Server:
    def __init__(self, *arguments):
        binary = os.environ.get("FACET_BINARY", str(ROOT / "build/release/bin/facet"))
        extra = os.environ.get("FACET_SERVE_ARGS", "").split()
        self.process = subprocess.Popen([binary, "serve", "--port", "0", *extra, *arguments], stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        found = re.fullmatch(r"listening on (http://127\.0\.0\.1:\d+)\n", line)
        assert found, (line, self.process.stderr.read())
        self.url = found[1]
        # The log must not fill its pipe.
        self.log_lines = []
        import threading
        self.reader = threading.Thread(target=lambda: self.log_lines.extend(self.process.stderr), daemon=True)
        self.reader.start()
        self.wait_until_ready()

    def wait_until_ready(self):
        deadline = time.time() + 120
        while time.time() < deadline:
            try:
                urllib.request.urlopen(self.url + "/health").read()
                return
            except OSError:
                assert self.process.poll() is None, "".join(self.log_lines)
                time.sleep(0.02)
        raise TimeoutError("the server does not become ready")

    def metric(self, name):
        text = urllib.request.urlopen(self.url + "/metrics").read().decode()
        return float(re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)[1])

    def wait_for_metric(self, name, value):
        deadline = time.time() + 30
        while self.metric(name) != value:
            assert time.time() < deadline, f"{name} is {self.metric(name)}, expected {value}"
            time.sleep(0.02)

    def resident_kib(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1])

    def stop(self, number=signal.SIGTERM, patience=60):
        self.process.send_signal(number)
        return self.process.wait(timeout=patience)

    def client(self, **options):
        options = {"api_key": "none", "max_retries": 0, "timeout": 300, **options}
        return openai.OpenAI(base_url=self.url + "/v1", **options)


@pytest.fixture(scope="session")
def server():
    running = Server("--parallel", "16", "--queue", "256")
    yield running
    if running.process.poll() is None:
        assert running.stop() == 0, "".join(running.log_lines)


@pytest.fixture
def start_server():
    started = []

    def start(*arguments):
        started.append(Server(*arguments))
        return started[-1]

    yield start
    for running in started:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait()


@pytest.fixture
def client(server):
    return server.client()
