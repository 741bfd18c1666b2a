"""Kernels for notebooks that run by machine: no network, one thread, nobody's personal settings.

`llmlab notebooks run` and the notebook tests start their kernels in the environment made here. It puts this
folder first on PYTHONPATH, so that every Python started there, the kernel and its child processes, imports
`sitecustomize.py` before anything else; that file refuses connections. The process that starts the kernel
keeps its own network. Where a kernel is to show what another processor could make of a notebook, the same file
moves the last bits of newly drawn weights (`perturbing.py`). Nothing of this touches the kernels that a learner opens
in JupyterLab.

What is refused is what Python itself connects (sockets, urllib, requests, httpx, asyncio). A program that is
not Python (`!curl`), a C++ library with sockets of its own, and a Python started with `-I`, `-E` or `-S` are
not seen.
"""

import os
from collections.abc import Mapping
from pathlib import Path

GUARD = Path(__file__).resolve().parent
PERTURBED = "LLMLAB_PERTURBED"  # read by `sitecustomize`

# What in the caller's environment would change a notebook's outputs or show it a way out.
# MPLBACKEND: with `Agg` inherited from a test run, a kernel would display no figure.
# Proxies: one on 127.0.0.1 would carry connections out through the loopback that stays open.
DROPPED = ("MPLBACKEND", "PYTHONSTARTUP", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "FTP_PROXY")


def kernel_environment(
    scratch: str | Path, environ: Mapping[str, str] = os.environ, *, perturbed: bool = False, threads: int = 1
) -> dict[str, str]:
    """Environment variables for a kernel with the network off, `threads` threads and no personal settings.

    `scratch` is an empty folder that outlives the kernel: IPython keeps its profile in it and the exercises
    their progress. `environ` is what to start from. `perturbed`: move what numpy and PyTorch draw by 8 ε or less, as
    tests do; outputs that are to be kept come from a kernel without.
    """
    dropped = {name.upper() for name in (*DROPPED, PERTURBED)}
    env = {name: value for name, value in environ.items() if name.upper() not in dropped}
    inherited = [p for p in env.get("PYTHONPATH", "").split(os.pathsep) if p and Path(p) != GUARD]
    env["PYTHONPATH"] = os.pathsep.join([str(GUARD), *inherited])
    env["no_proxy"] = env["NO_PROXY"] = "*"  # proxies can also come from the system's settings
    env["HF_HUB_OFFLINE"] = "1"
    env["OMP_NUM_THREADS"] = env["MKL_NUM_THREADS"] = str(threads)
    if perturbed:
        env[PERTURBED] = "1"
    env["LLMLAB_KERNEL"] = "plain"  # one kernel for products on all machines, chosen by no measurement
    env["IPYTHONDIR"] = str(Path(scratch) / "ipython")
    env["LLMLAB_HOME"] = str(Path(scratch) / "llmlab")
    return env
