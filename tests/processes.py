"""Running a line of code in fresh processes, for tests that ask whether it gives the same everywhere."""

import subprocess
import sys


def outputs_of(code: str) -> set[bytes]:
    """What the code prints in two processes with different hash seeds; one element if it is the same."""
    return {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": "."},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
