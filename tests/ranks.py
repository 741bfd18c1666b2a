"""Two processes of `llmlab train` without torchrun, which takes longer to start than they take to train.

Reads a list of cases from standard input, {"folder": ..., "settings": {...}, "arguments": [...]}, and prints a line for
each: the exit codes of the two. Each writes what it says to said_RANK.txt in the folder, and the norms of its steps to
norms_RANK.txt. The setting AT = RANK,STEP,WHAT lets one do something after a step; TIMEOUT is in seconds.
"""

import json
import os
import signal
import socket
import sys
from datetime import timedelta

import torch

from llmlab.cli import main, train
from llmlab.training import Trainer, parallel

take_step = Trainer._step


def act(what: str) -> None:
    if what == "raise":
        raise ValueError("something is wrong here")
    os.kill(os.getpid(), getattr(signal, what))


def watched(folder: str, rank: int, at: str):
    def step(self, number, batch, start):
        done = take_step(self, number, batch, start)
        with open(f"{folder}/norms_{rank}.txt", "a") as file:
            file.write(f"{done.gradient_norm!r}\n")
        if at and at.split(",")[:2] == [str(rank), str(number)]:
            act(at.split(",")[2])
        return done

    return step


def process(rank: int, port: int, folder: str, settings: dict[str, str], arguments: list[str]) -> int:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ["TORCHELASTIC_RUN_ID"] = "test"
    with open(f"{folder}/said_{rank}.txt", "w") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    Trainer._step = watched(folder, rank, settings.get("AT", ""))
    if seconds := settings.get("TIMEOUT"):
        join, limit = parallel.joined, timedelta(seconds=float(seconds))
        train.joined = lambda: join(limit)
    code = main(arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def both(folder: str, settings: dict[str, str], arguments: list[str]) -> list[int]:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    children = []
    for rank in range(2):
        child = os.fork()
        if child == 0:
            code = 99
            try:
                code = process(rank, port, folder, settings, arguments)
            finally:
                os._exit(code)
        children.append(child)
    codes = {}
    while len(codes) < len(children):
        child, status = os.wait()
        codes[child] = os.waitstatus_to_exitcode(status)
        if settings.get("AT", "").endswith("SIGSTOP") and child != children[1]:
            os.kill(children[1], signal.SIGKILL)
    return [codes[child] for child in children]


if __name__ == "__main__":
    torch.optim.AdamW([torch.zeros(1)])  # the first optimizer imports much of PyTorch: once here, and in no child
    for case in json.load(sys.stdin):
        os.makedirs(case["folder"], exist_ok=True)
        print(json.dumps(both(case["folder"], case["settings"], case["arguments"])), flush=True)
