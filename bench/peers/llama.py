"""llama.cpp in a race of bench/compare, by the low-level calls of llama-cpp-python.

llama.py prefill FILE LENGTH | llama.py decode FILE STREAMS: tokens a second; a round for each `go`.
"""

import ctypes
import sys
import time

import llama_cpp

DECODE_PROMPT = 16
DECODE_TOKENS = 64


def token(at):
    return at * 37 % 250 + 3


def decode(context, batch, rows):
    """Runs rows of (token, position, stream, whether logits are wanted)."""
    batch.n_tokens = len(rows)
    for index, (value, position, stream, wanted) in enumerate(rows):
        batch.token[index] = value
        batch.pos[index] = position
        batch.n_seq_id[index] = 1
        batch.seq_id[index][0] = stream
        batch.logits[index] = wanted
    if llama_cpp.llama_decode(context, batch) != 0:
        raise SystemExit("llama_decode failed")


def main():
    kind, path, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
    quiet = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
    model = llama_cpp.llama_model_load_from_file(
        path.encode(), llama_cpp.llama_model_default_params()
    )
    streams = number if kind == "decode" else 1
    most = DECODE_PROMPT + DECODE_TOKENS if kind == "decode" else number
    parameters = llama_cpp.llama_context_default_params()
    parameters.n_ctx = streams * (most + 32)
    parameters.n_batch = parameters.n_ubatch = 512
    parameters.n_seq_max = streams
    parameters.n_threads = parameters.n_threads_batch = 1
    context = llama_cpp.llama_init_from_model(model, parameters)
    batch = llama_cpp.llama_batch_init(max(512, streams * DECODE_PROMPT), 0, 1)

    def forget():
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)

    def prefill_round():
        forget()
        start = time.perf_counter()
        rows = [(token(at), at, 0, at == number - 1) for at in range(number)]
        decode(context, batch, rows)
        return number / (time.perf_counter() - start)

    def decode_round():
        forget()
        for stream in range(streams):
            rows = [(token(at), at, stream, False) for at in range(DECODE_PROMPT)]
            decode(context, batch, rows)
        start = time.perf_counter()
        for at in range(DECODE_PROMPT, most):
            rows = [(token(at + stream), at, stream, True) for stream in range(streams)]
            decode(context, batch, rows)
        return streams * DECODE_TOKENS / (time.perf_counter() - start)

    one = decode_round if kind == "decode" else prefill_round
    one()
    print("ready", flush=True)
    for line in sys.stdin:
        if line.strip() != "go":
            break
        print(one(), flush=True)


main()
