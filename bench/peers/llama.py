"""llama.cpp in a race of bench/compare, by the low-level calls of llama-cpp-python.

llama.py prefill FILE LENGTH | llama.py decode FILE STREAMS: tokens a second; a round for each `go`.
llama.py tokens FILE TEXT: a text as the numbers of its tokens, a line.
llama.py perplexity FILE TOKENS: of such a line, as measure.rs defines it; with a float32 cache where
the file's weights are float32.
llama.py quantise FILE OUT q4_0|q4_k_m|f32: the same weights in another format.
"""

import ctypes
import math
import sys
import time

import llama_cpp

DECODE_PROMPT = 16
DECODE_TOKENS = 64
# As in measure.rs.
WINDOW = 512
SCORED = 256
F32 = 0
FORMATS = {"f32": F32, "q4_0": 2, "q4_k_m": 15}


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


def load(path):
    quiet = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
    load.quiet = quiet  # llama.cpp keeps the address
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
    model = llama_cpp.llama_model_load_from_file(
        path.encode(), llama_cpp.llama_model_default_params()
    )
    if not model:
        raise SystemExit(f"llama.cpp cannot read {path}")
    return model


def open_context(model, length, streams=1, exact=False):
    parameters = llama_cpp.llama_context_default_params()
    parameters.n_ctx = streams * length
    parameters.n_batch = parameters.n_ubatch = 512
    parameters.n_seq_max = streams
    parameters.n_threads = parameters.n_threads_batch = 1
    if exact:
        parameters.type_k = parameters.type_v = F32
    return llama_cpp.llama_init_from_model(model, parameters)


def forget(context):
    llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)


def race(kind, path, number):
    model = load(path)
    streams = number if kind == "decode" else 1
    most = DECODE_PROMPT + DECODE_TOKENS if kind == "decode" else number
    context = open_context(model, most + 32, streams)
    batch = llama_cpp.llama_batch_init(max(512, streams * DECODE_PROMPT), 0, 1)

    def prefill_round():
        forget(context)
        start = time.perf_counter()
        rows = [(token(at), at, 0, at == number - 1) for at in range(number)]
        decode(context, batch, rows)
        return number / (time.perf_counter() - start)

    def decode_round():
        forget(context)
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


def tokens(path, text):
    vocabulary = llama_cpp.llama_model_get_vocab(load(path))
    with open(text, "rb") as file:
        text = file.read()
    room = (llama_cpp.llama_token * len(text))()
    count = llama_cpp.llama_tokenize(vocabulary, text, len(text), room, len(room), False, False)
    print(*room[:count])


def perplexity(path, numbers):
    import numpy as np

    model = load(path)
    exact = path.endswith("f32.gguf")
    context = open_context(model, WINDOW, exact=exact)
    batch = llama_cpp.llama_batch_init(WINDOW, 0, 1)
    with open(numbers) as file:
        numbers = [int(number) for number in file.read().split()]
    width = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    loss, scored = 0.0, 0
    for first in range(0, len(numbers) - WINDOW + 1, WINDOW):
        window = numbers[first : first + WINDOW]
        forget(context)
        rows = [(value, at, 0, at >= WINDOW - SCORED - 1) for at, value in enumerate(window)]
        decode(context, batch, rows)
        for at in range(WINDOW - SCORED - 1, WINDOW - 1):
            logits = llama_cpp.llama_get_logits_ith(context, at)
            logits = np.ctypeslib.as_array(logits, (width,)).astype(np.float64)
            most = logits.max()
            loss += most + math.log(np.exp(logits - most).sum()) - logits[window[at + 1]]
            scored += 1
    print(math.exp(loss / scored))


def quantise(path, out, form):
    load(path)  # for its quiet
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype, parameters.nthread, parameters.allow_requantize = FORMATS[form], 1, True
    if llama_cpp.llama_model_quantize(path.encode(), out.encode(), parameters) != 0:
        raise SystemExit(f"llama.cpp cannot make {out}")


def main():
    match sys.argv[1:]:
        case ["prefill" | "decode" as kind, path, number]:
            race(kind, path, int(number))
        case ["tokens", path, text]:
            tokens(path, text)
        case ["perplexity", path, numbers]:
            perplexity(path, numbers)
        case ["quantise", path, out, form]:
            quantise(path, out, form)
        case _:
            raise SystemExit(__doc__)


main()
