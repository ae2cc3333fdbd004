"""bench/generation's llama.cpp: loads a GGUF file, then for every line of JSON with token ids and a count writes one with the
tokens that it generates greedily and the seconds that it took."""

import ctypes
import json
import sys
import time

import llama_cpp
import numpy

path, threads = sys.argv[1], int(sys.argv[2])
silence = llama_cpp.llama_log_callback(lambda *_: None)  # the library keeps no reference to it
llama_cpp.llama_log_set(silence, ctypes.c_void_p(0))
llama_cpp.llama_backend_init()
model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
settings = llama_cpp.llama_context_default_params()
settings.n_ctx = 1024
settings.n_threads = settings.n_threads_batch = threads
context = llama_cpp.llama_init_from_model(model, settings)
vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))


def decode(tokens):
    given = (llama_cpp.llama_token * len(tokens))(*tokens)
    assert llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(given, len(tokens))) == 0
    logits = llama_cpp.llama_get_logits_ith(context, -1)
    return int(numpy.ctypeslib.as_array(logits, shape=(vocabulary,)).argmax())


print(json.dumps({"ready": llama_cpp.__version__}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
    began = time.perf_counter()
    tokens = [decode(asked["prompt"])]
    while len(tokens) < asked["tokens"]:
        tokens.append(decode(tokens[-1:]))
    print(json.dumps({"tokens": tokens, "seconds": time.perf_counter() - began}), flush=True)
