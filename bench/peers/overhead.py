"""What hearth's server adds to its model: the rows `server-overhead` and `server-first-token` of bench/compare.

The server counts the seconds of its forward passes and of its sampling, of a processor and by the clock (`work` of
`/hearth/ps`); the system counts those of all its threads. What is left is the server's own. Times of a processor say
the same whatever else the machine does, or nearly: a processor that is shared is slower for both.
"""

import http.client
import json
import statistics
import time

MODEL = "@cf/meta/llama-3.1-8b-instruct"
# Tokens of an answer: the difference between both is what tokens cost, without what requests cost.
SHORT, LONG = 8, 200
# Requests of each length in a round, and those that are asked for one token.
STREAMS, FIRSTS = 4, 20


class Asker:
    """One client of a server, with one connection for its streams."""

    def __init__(self, address, server):
        self.address, self.pid = address, server.pid
        self.connection = http.client.HTTPConnection(address)
        for number in range(STREAMS):
            self.ask(number, SHORT)  # loads the model; then all prompts are in its cache

    def ask(self, number, tokens):
        """A stream of so many tokens, drawn at random so that none is foreseen; seconds until its first frame came."""
        question = {"role": "user", "content": f"Tell me the story of king {number} and his horse."}
        body = {"model": MODEL, "messages": [question], "max_tokens": tokens, "temperature": 1.0, "seed": number}
        headers = {"content-type": "application/json", "authorization": "Bearer any"}
        path = "/client/v4/accounts/local/ai/v1/chat/completions"
        asked = time.perf_counter()
        self.connection.request("POST", path, json.dumps(body | {"stream": True}), headers)
        answer = self.connection.getresponse()
        if answer.status != 200:
            raise SystemExit(f"{path}: {answer.status} {answer.read().decode()}")
        answer.readline()
        first = time.perf_counter() - asked
        if not answer.read().endswith(b"data: [DONE]\n\n"):
            raise SystemExit("a stream was broken off")
        return first

    def work(self):
        """What the server counted."""
        connection = http.client.HTTPConnection(self.address)
        connection.request("GET", "/hearth/ps")
        page = json.loads(connection.getresponse().read())
        connection.close()
        return page["models"][0]["work"]

    def used(self):
        """Seconds of a processor that all threads have had, those that ended among them."""
        # The clock of another process, as clock_getcpuclockid(3) makes it on Linux.
        return time.clock_gettime((~self.pid << 3) | 2)

    def spend(self, tokens):
        """Tokens of some streams, the processor's seconds of their model, and all others of the server."""
        work, before = self.work(), self.used()
        for number in range(STREAMS):
            self.ask(number, tokens)
        time.sleep(0.1)  # all threads wait
        after, all_seconds = self.work(), self.used() - before
        spent = lambda part: after[part]["cpu_seconds"] - work[part]["cpu_seconds"]
        model = spent("forward") + spent("sampling")
        return after["tokens"] - work["tokens"], model, all_seconds - model

    def tokens(self):
        """Microseconds of a processor that a token costs, beside its model and for it."""
        few, many = self.spend(SHORT), self.spend(LONG)
        tokens, model, own = (b - a for a, b in zip(few, many))
        return own / tokens * 1e6, model / tokens * 1e6

    def firsts(self):
        """Microseconds by the clock from a request to the first frame of its answer, less those of its model; the median."""
        added = []
        for number in range(FIRSTS):
            work = self.work()
            first = self.ask(number % STREAMS, 1)
            after = self.work()
            spent = (after[part]["wall_seconds"] - work[part]["wall_seconds"] for part in ("forward", "sampling"))
            added.append((first - sum(spent)) * 1e6)
        return statistics.median(added)


def rounds(address, server, count):
    """For each round: what a token costs beside its model, what for it, and what the first one waits."""
    asker = Asker(address, server)
    return [(*asker.tokens(), asker.firsts()) for _ in range(count)]
