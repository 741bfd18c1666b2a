"""What the training dashboard takes from the training it shows: its own calls' share of the training thread's time.

Every call that the thread makes for the dashboard is timed: noting a step down, putting together what is new, and the
message, which is made ready for the wire as a kernel would. It is processor time of the one thread, in one run, so that
what else the machine does is not counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from jupyter_client.session import Session

from ..training import Batch, Trainer, TrainingConfig, new_model
from ..widgets.training import TrainingDashboard
from . import Row
from .training import ROWS, SHAPE, TOKENS

SMALL = replace(SHAPE, vocab_size=64, d_model=32, n_layers=2, n_heads=2, n_kv_heads=2, head_dim=16, d_ff=64)
STEPS = {"a model of 3 M parameters, 16×128": 20, "two layers of width 32, 8×32": 600}
BOUND = 0.03


def benchmark() -> Iterator[Row]:
    """Seconds of the training thread without and with what its dashboard took."""
    for name, config, rows, tokens in zip(STEPS, (SHAPE, SMALL), (ROWS, 8), (TOKENS, 32), strict=True):
        whole, own, calls = measure(config, rows, tokens, STEPS[name])
        what = f"{name}: {calls['_show']} updates in {calls['_take']} steps"
        yield Row(what, whole - own, whole, "s", f">= {1 - BOUND:.2f}×", own < BOUND * whole)


def measure(config: Any, rows: int, tokens: int, n_steps: int) -> tuple[float, float, dict[str, int]]:
    """Seconds of the training, of these the dashboard's own, and how often it was called."""
    ids = torch.randint(config.vocab_size, (rows, tokens + 1), generator=torch.Generator().manual_seed(0))
    batch = Batch(ids[:, :-1], ids[:, 1:])
    trainer = Trainer(new_model(config), lambda step: batch, TrainingConfig(n_steps=n_steps))
    dashboard = TrainingDashboard.live(trainer)
    session, calls = Session(key=b"bench"), {"_take": 0, "_show": 0, "_train": 0}
    taken = dict.fromkeys(calls, 0.0)

    def timed(name: str) -> Callable[..., Any]:
        work = getattr(dashboard, name)

        def call(*arguments: Any, **named: Any) -> Any:
            start = time.thread_time()
            found = work(*arguments, **named)
            taken[name] += time.thread_time() - start
            calls[name] += 1
            return found

        return call

    def send(key: Any = None) -> None:
        session.serialize(session.msg("comm_msg", {"data": {"state": _json(dashboard.get_state(key))}}))

    dashboard.send_state = send
    for name in calls:
        setattr(dashboard, name, timed(name))
    dashboard.start()
    dashboard.wait()
    return taken["_train"], taken["_take"] + taken["_show"], calls


def _json(state: dict[str, Any]) -> dict[str, Any]:
    """A message without its buffers, which are sent as they lie in memory."""
    plain = {name: value for name, value in state.items() if not isinstance(value, dict) or "data" not in value}
    return plain | {name: bytes(state[name]["data"]).hex() for name in state.keys() - plain.keys()}
