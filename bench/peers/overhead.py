"""What hearth's server adds to its model: the rows `server-overhead` and `server-first-token` of bench/compare.

The server counts the seconds of its forward passes and of its sampling, of a processor and by the clock (`work` of
`/hearth/ps`); the system counts those of all its threads. What is left is the server's own. Times of a processor say
the same whatever else the machine does, or nearly: a processor that is shared is slower for both.
"""

import http.client
import json
import multiprocessing
import socket
import statistics
import time

MODEL = "@cf/meta/llama-3.1-8b-instruct"
# Tokens of an answer: the difference between both is what tokens cost, without what requests cost.
SHORT, LONG = 8, 200
# Requests of each length in a round, and those that are asked for one token.
STREAMS, FIRSTS = 4, 20


def bare(listener):
    """A server that has one frame ready for whoever asks: what is asked, the loopback and the asker take by themselves."""
    frame = b"data: " + b"x" * 170 + b"\n\n"
    end = b"data: [DONE]\n\n"
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (frame, end, b""))
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    connection, _ = listener.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    asked = b""
    while more := connection.recv(1 << 16):
        asked += more
        if asked.endswith(b"}"):  # the body of a request, which is an object
            connection.sendall(head + chunks)
            asked = b""


class Asker:
    """One client of a server, with one connection for its streams."""

    def __init__(self, address, server):
        self.address, self.pid = address, server.pid
        self.connection = http.client.HTTPConnection(address)
        listener = socket.create_server(("127.0.0.1", 0))
        multiprocessing.Process(target=bare, args=(listener,), daemon=True).start()
        self.bare = http.client.HTTPConnection("127.0.0.1", listener.getsockname()[1])
        listener.close()
        for number in range(STREAMS):
            self.ask(number, SHORT)  # loads the model; then all prompts are in its cache

    def ask(self, number, tokens, connection=None):
        """A stream of so many tokens, drawn at random so that none is foreseen; seconds until its first frame came."""
        connection = connection or self.connection
        question = {"role": "user", "content": f"Tell me the story of king {number} and his horse."}
        body = {"model": MODEL, "messages": [question], "max_tokens": tokens, "temperature": 1.0, "seed": number}
        headers = {"content-type": "application/json", "authorization": "Bearer any"}
        path = "/client/v4/accounts/local/ai/v1/chat/completions"
        asked = time.perf_counter()
        connection.request("POST", path, json.dumps(body | {"stream": True}), headers)
        answer = connection.getresponse()
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

    def spend(self, number, tokens):
        """Tokens of a stream, the processor's seconds of their model, and all others of the server."""
        work, before = self.work(), self.used()
        self.ask(number, tokens)
        time.sleep(0.1)  # all threads wait
        all_seconds, after = self.used() - before, self.work()
        spent = lambda part: after[part]["cpu_seconds"] - work[part]["cpu_seconds"]
        model = spent("forward") + spent("sampling")
        return after["tokens"] - work["tokens"], model, all_seconds - model

    def tokens(self):
        """Microseconds of a processor that a token costs, beside its model and for it."""
        sums = [0, 0, 0]
        for number in range(STREAMS):
            # What a request costs hangs on how long its memory was not touched (bench/README.md): whatever is counted comes
            # after a long stream.
            self.ask(number, LONG)
            many, few = self.spend(number, LONG), self.spend(number, SHORT)
            sums = [total + b - a for total, a, b in zip(sums, few, many)]
        tokens, model, own = sums
        return own / tokens * 1e6, model / tokens * 1e6

    def firsts(self):
        """Microseconds by the clock from a request to the first frame of its answer, less those of its model and those of a
        server that does nothing; the median."""
        added = []
        for number in range(FIRSTS):
            work = self.work()
            first = self.ask(number % STREAMS, 1)
            after = self.work()
            spent = (after[part]["wall_seconds"] - work[part]["wall_seconds"] for part in ("forward", "sampling"))
            bare = self.ask(number % STREAMS, 1, self.bare)
            added.append((first - sum(spent) - bare) * 1e6)
        return statistics.median(added)


def rounds(address, server, count):
    """For each round: what a token costs beside its model, what for it, and what the first one waits."""
    asker = Asker(address, server)
    return [(*asker.tokens(), asker.firsts()) for _ in range(count)]
