"""hearth's server and llama.cpp's under the same loads, in turn within one run: the rows `load-*` of bench/compare.

Both serve the same file with one thread and as many sequences; the client (bench/src/bin/load.rs) takes
little. Requests of the random load arrive as often as is 70 % of what llama.cpp's server gets done.
"""

import json
import os
import re
import statistics
import subprocess
import time
import urllib.request

STREAMS = (1, 4, 8, 16)
# Tokens of a sequence in llama.cpp's server, prompt and answer.
WINDOW = 1024
LOAD = 0.7
SECONDS = 20
TIMES = {"first_p50": "ttft-p50", "first_p99": "ttft-p99", "between_p50": "itl-p50", "between_p99": "itl-p99"}
NAMES = [f"load-{streams}" for streams in STREAMS] + [f"load-{name}" for name in TIMES.values()]


class Server:
    """A running server: where it answers chats, and the name of its model."""

    def __init__(self, command, url, model, **more):
        environment = dict(os.environ, OMP_NUM_THREADS="1", RAYON_NUM_THREADS="1")
        self.process = subprocess.Popen(list(map(str, command)), text=True, env=environment, **more)
        if url is None:
            url = re.search(r"http://[\d.:]+", self.process.stdout.readline()).group()
            url += "/client/v4/accounts/local/ai/v1"
        self.url, self.model = url, model

    def ready(self):
        body = {"model": self.model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}
        request = urllib.request.Request(
            self.url + "/chat/completions",
            json.dumps(body).encode(),
            {"content-type": "application/json", "authorization": "Bearer any"},
        )
        for _ in range(120):
            try:
                return urllib.request.urlopen(request).read()
            except OSError:
                time.sleep(0.5)
        raise SystemExit(f"{self.url} does not answer")

    def end(self):
        self.process.terminate()
        self.process.wait()


def ours(hearth):
    command = [hearth, "serve", "--listen", "127.0.0.1:0", "--threads", "1"]
    return Server(command, None, "@cf/meta/llama-3.1-8b-instruct", stdout=subprocess.PIPE)


def theirs(binaries, file, port=7791):
    most = max(STREAMS)
    sizes = ["-c", most * WINDOW, "-np", most, "-t", 1, "-tb", 1]
    command = [binaries / "llama-server", "-m", file, "--host", "127.0.0.1", "--port", port, *sizes, "--no-webui"]
    return Server(command, f"http://127.0.0.1:{port}/v1", "model", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def rows(chosen, servers, load, text, rounds, Runner):
    """The rows that were asked for, each as `compare` prints it."""
    arguments = [[load, server.url, server.model, text] for server in servers]
    rates = {}
    for streams in STREAMS:
        runners = [Runner([*words, "streams", streams]) for words in arguments]
        rates[streams] = [[runner.round() for runner in runners] for _ in range(rounds)]
        for runner in runners:
            runner.end()
        if f"load-{streams}" in chosen:
            yield row(f"load-{streams}", "tokens/s", rates[streams], lambda ours, peer: ours / peer)
    if not any(f"load-{name}" in chosen for name in TIMES.values()):
        return
    # An answer of the random load has 57 tokens in the mean: a median of 48, log-normal with 0.6.
    rate = LOAD * statistics.median(peer for _, peer in rates[max(STREAMS)]) / 57
    seen = []
    for seed in range(rounds):
        poisson = ["poisson", rate, SECONDS, seed]
        ask = lambda words: subprocess.run(list(map(str, words)), check=True, capture_output=True, text=True).stdout
        seen.append([json.loads(ask([*words, *poisson])) for words in arguments])
    for key, name in TIMES.items():
        if f"load-{name}" in chosen:
            pairs = [[told[key] for told in both] for both in seen]
            yield row(f"load-{name}", "ms", pairs, lambda ours, peer: peer / ours)


def row(name, unit, pairs, ratio, digits=2):
    ratios = sorted(ratio(*pair) for pair in pairs)
    return {
        "name": name,
        "ours": round(statistics.median(ours for ours, _ in pairs), 2),
        "peer": round(statistics.median(peer for _, peer in pairs), 2),
        "unit": unit,
        "ratio": round(statistics.median(ratios), digits),
        "min": round(ratios[0], digits),
        "max": round(ratios[-1], digits),
    }
