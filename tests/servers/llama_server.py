"""llama.cpp's own HTTP server on loopback. It prints `READY <root URL>` and ends when stdin closes.

python tests/servers/llama_server.py tiny.gguf --slots 4 --ctx-per-slot 32768 --alias tiny
"""

import argparse
import os
import sys

import xllamacpp  # type: ignore[import-untyped]


def parameters(arguments: argparse.Namespace) -> xllamacpp.CommonParams:
    params = xllamacpp.CommonParams()
    params.model.path, params.model_alias = arguments.model, {arguments.alias}
    params.hostnames, params.port = ["127.0.0.1"], 0  # 0: the kernel chooses a free port
    params.n_parallel, params.n_ctx = arguments.slots, arguments.slots * arguments.ctx_per_slot
    params.n_batch, params.n_ubatch = 512, 256
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.n_threads_http = 64  # with fewer, idle connections make new ones wait for 5 s
    params.endpoint_metrics = params.endpoint_slots = params.use_jinja = params.offline = True
    params.warmup = params.ui = params.fit_params = False
    params.cache_ram_mib, params.verbosity = 0, 1
    return params


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a GGUF file")
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--ctx-per-slot", type=int, default=32768)
    parser.add_argument("--alias", default="tiny")
    server = xllamacpp.Server(parameters(parser.parse_args()))  # returns when the model is loaded
    sys.stdout.write(f"READY {server.listening_address}\n")
    sys.stdout.flush()
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nobody reads the pipe any more
    sys.stdin.buffer.read()  # the parent's death closes it too


if __name__ == "__main__":
    main()
