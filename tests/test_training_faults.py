"""What may go wrong while a model is trained: interrupts, a full disk, damaged files. Nothing good is ever lost."""

import errno
import importlib
import json
import signal
import subprocess
import sys
import threading
from itertools import islice

import pytest
import torch
from models import TINY_LLAMA, random_tokens
from safetensors import SafetensorError

from llmlab import checkpoint
from llmlab.checkpoint.files import replacing
from llmlab.cli import main
from llmlab.cli.train import Log
from llmlab.training import Batch, Trainer, TrainingConfig, new_model, validation_loss

unix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals and limits")
CONFIG = TrainingConfig(n_steps=12, batch_size=4, seq_len=16, learning_rate=1e-2, warmup=3)


def task(step):
    tokens = random_tokens(TINY_LLAMA, 4, 17, seed=step % 3)
    return Batch(tokens[:, :-1], tokens[:, 1:])


def new_trainer(seed=0, config=CONFIG, **changes):
    return Trainer(new_model(TINY_LLAMA, seed), task, config, **changes)


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


@pytest.fixture(scope="module")
def by_step():
    """The weights after each number of steps of a run that nothing disturbs."""
    trainer = new_trainer()
    after = [weights(trainer.model).clone()]
    return after + [weights(trainer.model).clone() for _ in trainer]


# Interrupts ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def interruptible():
    """Ctrl-C raises KeyboardInterrupt, also where the tests were started with it ignored, as in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def check_is_usable_after_whole_steps(trainer, by_step):
    assert not trainer.model.training and torch.isfinite(trainer.model(task(0).tokens)).all()
    assert torch.equal(weights(trainer.model), by_step[trainer.n_done])
    assert all(parameter.grad is None for parameter in trainer.model.parameters())


@unix
@pytest.mark.parametrize("at", [1, 2, 7])
def test_an_interrupt_between_two_groups_of_a_step_waits_for_its_end(interruptible, by_step, monkeypatch, at):
    """The optimizer moves the decayed weights first and then the others; Ctrl-C after the first half."""
    adam = importlib.import_module("torch.optim.adam")
    half = adam._fused_adam
    calls = []

    def interrupted(*arguments, **keywords):
        half(*arguments, **keywords)
        calls.append(1)
        if len(calls) == at:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(adam, "_fused_adam", interrupted)
    trainer, handler = new_trainer(), signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        for _ in trainer:
            pass
    assert len(calls) == at + at % 2 and trainer.n_done == (at + 1) // 2  # two calls a step
    check_is_usable_after_whole_steps(trainer, by_step)
    assert signal.getsignal(signal.SIGINT) is handler
    assert [step.step for step in trainer][-1] == 11 and torch.equal(weights(trainer.model), by_step[12])


@unix
def test_interrupts_at_any_moment_leave_whole_steps_and_a_state_to_resume(interruptible, by_step, tmp_path):
    """By a timer, at moments that lie anywhere in steps, in between and in saving."""
    path, seen = tmp_path / "state.safetensors", set()
    trainer, delay, n_saved = new_trainer(), 0.0005, 0
    usual = signal.signal(signal.SIGALRM, lambda number, frame: signal.raise_signal(signal.SIGINT))
    try:
        for _ in range(40):
            delay *= 1.25
            try:
                signal.setitimer(signal.ITIMER_REAL, delay)
                for step in trainer:
                    trainer.save(path)
                    n_saved = step.step + 1
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                seen.add(trainer.n_done)
            check_is_usable_after_whole_steps(trainer, by_step)
            if path.exists():
                again = new_trainer(seed=9)
                again.resume(path)
                assert n_saved <= again.n_done <= trainer.n_done
                assert torch.equal(weights(again.model), by_step[again.n_done])
            assert [p.name for p in tmp_path.iterdir()] in ([], ["state.safetensors"])
            if trainer.n_done == CONFIG.n_steps:
                trainer, n_saved, delay = new_trainer(), 0, 0.0005
                path.unlink(missing_ok=True)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, usual)
    assert len(seen) >= 2


def test_it_trains_in_a_thread_and_is_stopped_between_steps(by_step):
    """As a dashboard does: in a thread that is not the main one, stopped by a flag, and gone on with in another."""
    trainer, stop, lines = new_trainer(), threading.Event(), []

    def train():
        for step in trainer:
            lines.append(step)
            if step.step == 4 or stop.is_set():
                break

    for n_done in (5, 6):
        thread = threading.Thread(target=train)
        thread.start()
        thread.join()
        stop.set()
        assert trainer.n_done == n_done
        check_is_usable_after_whole_steps(trainer, by_step)
    assert [step.step for step in lines] == list(range(6))


def test_what_is_asked_between_steps_does_not_disturb_the_training(by_step):
    trainer, asked = new_trainer(), []
    for step in trainer:
        asked.append(validation_loss(trainer.model, task, 2))
        assert trainer.model.training  # as it was
        if step.step % 2:
            trainer.model.eval()  # and where somebody forgets to set it back, the next step does
            assert torch.isfinite(trainer.model(task(7).tokens)).all()
    assert torch.equal(weights(trainer.model), by_step[12]) and asked[-1] < asked[0]


def test_dropout_is_on_in_each_step_whatever_was_done_between():
    """A model that was left in evaluation mode trains as one that was not."""

    def losses(between):
        torch.manual_seed(3)
        trainer = Trainer(new_model(type(TINY_LLAMA).from_dict(TINY_LLAMA.to_dict() | {"dropout": 0.3})), task, CONFIG)
        found = []
        for step in islice(trainer, 5):
            found.append(step.loss)
            between(trainer.model)
        return found

    assert losses(lambda model: None) == losses(lambda model: model.eval()) != losses(lambda model: torch.rand(1))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_ends_the_run_with_the_weights_of_before(by_step, bad):
    trainer = new_trainer()
    handle = None
    with pytest.raises(FloatingPointError, match=r"not finite at step 3 .* weights are those before this step"):
        for step in trainer:
            if step.step == 2:
                handle = trainer.model.head.register_forward_hook(lambda module, inputs, logits: logits * bad)
    handle.remove()
    assert trainer.n_done == 3
    check_is_usable_after_whole_steps(trainer, by_step)
    assert [step.step for step in trainer] == list(range(3, 12)) and torch.equal(weights(trainer.model), by_step[12])


# Files --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A state after five steps, as bytes."""
    trainer, path = new_trainer(), tmp_path_factory.mktemp("saved") / "state.safetensors"
    for _ in islice(trainer, 5):
        pass
    trainer.save(path)
    return path.read_bytes()


def damaged_states(whole):
    n_header = 8 + int.from_bytes(whole[:8], "little")
    for n in (0, 7, 8, 100, n_header, n_header + 1, len(whole) // 2, len(whole) - 1):
        yield f"cut after {n} bytes", whole[:n]
    for place in (0, 3, 7, 8, 9, *range(30, n_header, 401)):
        yield f"byte {place} flipped", whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :]
    yield "longer", whole + b"x"
    yield "zeros", bytes(len(whole))
    yield "of another program", b'{"weights": [1, 2, 3]}\n' * 40
    yield "a zip file", b"PK\x03\x04" + bytes(200)


def test_a_damaged_state_is_named_and_changes_nothing(saved, tmp_path):
    path, trainer = tmp_path / "state.safetensors", new_trainer(seed=4)
    before, generator = weights(trainer.model).clone(), torch.get_rng_state()
    for what, content in damaged_states(saved):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"state\.safetensors (is|was made)"):
            trainer.resume(path)
            raise AssertionError(what)
        assert torch.equal(weights(trainer.model), before) and trainer.n_done == 0, what
        assert torch.equal(torch.get_rng_state(), generator) and path.read_bytes() == content
    path.write_bytes(saved)
    trainer.resume(path)
    assert trainer.n_done == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer.exp_avg.norm.weight": None}, "it has no optimizer.exp_avg.norm.weight"),
        ({"model.norm.weight": torch.ones(7)}, r"is damaged: model.norm.weight is torch.float32 \(7,\), expected"),
        ({"model.norm.weight": torch.ones(32, dtype=torch.int64)}, "model.norm.weight is torch.int64"),
        ({"generator": torch.zeros(5, dtype=torch.uint8)}, r"generator is torch.uint8 \(5,\)"),
        ({"generator": torch.full((5056,), 255, dtype=torch.uint8)}, "generator has no state of a generator"),
    ],
)
def test_a_state_with_a_wrong_part_is_named_and_changes_nothing(saved, tmp_path, change, message):
    path = tmp_path / "state.safetensors"
    path.write_bytes(saved)
    tensors, metadata = checkpoint.load_tensors(path)
    tensors = {name: tensor for name, tensor in (tensors | change).items() if tensor is not None}
    checkpoint.save_tensors(path, tensors, metadata)
    trainer = new_trainer(seed=4)
    before = weights(trainer.model).clone()
    with pytest.raises(ValueError, match=f"state.safetensors .*{message}"):
        trainer.resume(path)
    assert torch.equal(weights(trainer.model), before) and trainer.n_done == 0


def test_settings_of_a_state_that_are_none_are_named(saved, tmp_path):
    path = tmp_path / "state.safetensors"
    path.write_bytes(saved)
    tensors, metadata = checkpoint.load_tensors(path)
    for wrong in ({"training": "{"}, {"config": [1]}, {"training": None}):
        checkpoint.save_tensors(path, tensors, metadata | wrong)
        with pytest.raises(
            ValueError, match=rf"not a checkpoint .* no {'model' if 'config' in wrong else 'training'} set"
        ):
            new_trainer().resume(path)


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), SafetensorError("I/O error: full")]
)
def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, error):
    path = tmp_path / "folder" / "file"
    with replacing(path) as part:
        part.write_text("old")
    for raised, kind, message in (
        (error, OSError, rf"could not save .*file: ({error.args[-1]}|full)\. What stood there before"),
        (KeyboardInterrupt("now"), KeyboardInterrupt, "now"),
    ):
        with pytest.raises(kind, match=message), replacing(path) as part:
            part.write_text("ne")
            raise raised
    assert path.read_text() == "old" and list(path.parent.iterdir()) == [path]


def test_torn_lines_of_a_log_are_left_out(tmp_path):
    path = tmp_path / "log.jsonl"
    good = [json.dumps({"step": step, "loss": 0.1 + step, "skills": {"a": 0.5}, "seconds": 1.5}) for step in (1, 2, 3)]
    torn = json.dumps({"step": 4, "skills": {"a": 0.5}, "seconds": 2.0})
    for end in (
        "",
        torn[:-1],
        torn[:20],
        torn[: torn.index("}") + 1],
        "\0\0\0",
        '{"st',
        "[4]",
        '{"loss": 1}',
        "\udcff",
    ):
        path.write_bytes("\n".join([*good, end]).encode(errors="surrogateescape"))
        log = Log(path, keep=2)
        assert path.read_text() == "".join(f"{line}\n" for line in good[:2]) and log.seconds == 1.5
        log.write({"step": 3})
        assert path.read_text().splitlines() == [*good[:2], '{"step": 3}']


# The command --------------------------------------------------------------------------------------------------------

ARGUMENTS = [
    "train", "--which=encoder", "--steps=12", "--save-every=3", "--check-every=100", "--set", "d_model=16", "n_heads=2",
    "n_kv_heads=1", "n_layers=1", "d_ff=16", "batch_size=2", "seq_len=32", "warmup=2",
]  # fmt: skip


@pytest.fixture
def command(capsys):
    """Runs `llmlab train` here; gives its exit code and the error, which must be one line."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(folder, *changes):
        code = main([*ARGUMENTS, *changes, f"--run={folder}"])
        said = [line for line in capsys.readouterr().err.split("\n") if line.startswith("llmlab")]
        assert len(said) == (1 if code == 1 else 0), said
        return code, "".join(said)

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("finished")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    assert main([*ARGUMENTS, f"--run={folder}"]) == 0
    for number, handler in handlers.items():
        signal.signal(number, handler)
    return folder


def check_ends_alike(folder, finished):
    ours, theirs = (checkpoint.load_tensors(one / "model.safetensors")[0] for one in (folder, finished))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    ours, theirs = ((one / "log.jsonl").read_text().splitlines() for one in (folder, finished))
    assert [json.loads(line)["loss"] for line in ours] == [json.loads(line)["loss"] for line in theirs]
    assert not list(folder.rglob("*.part"))


def break_off(folder, monkeypatch, n_done=7):
    """A run that is stopped after so many steps, as Ctrl-C stops it."""
    write = Log.write

    def stop(log, line):
        write(log, line)
        if line["step"] == n_done:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Log, "write", stop)
        assert main([*ARGUMENTS, f"--run={folder}"]) == 130


@unix
def test_a_file_that_cannot_grow_stops_the_run_and_its_last_state_stays(command, finished, tmp_path, monkeypatch):
    """The limit on a file's size is an error of writing like a full disk, in the middle of a file."""
    import resource

    break_off(tmp_path, monkeypatch)
    state = tmp_path / "state.safetensors"
    before, soft_hard = state.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    usual = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) - 1000, soft_hard[1]))
        code, said = command(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, soft_hard)
        signal.signal(signal.SIGXFSZ, usual)
    assert code == 1 and f"could not save {state}: File too large" in said and "goes on from the last state" in said
    assert state.read_bytes() == before and not list(tmp_path.rglob("*.part"))
    assert command(tmp_path) == (0, "")
    check_ends_alike(tmp_path, finished)


def test_a_disk_that_is_full_is_said_and_the_last_state_stays(command, finished, tmp_path, monkeypatch):
    """A real one, where we may make it; else a write that fails as on one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    size = sum(file.stat().st_size for file in finished.rglob("*") if file.is_file())
    mounted = sys.platform == "linux" and mount(disk, size)
    folder = disk / "run"
    try:
        if mounted:
            code, said = command(folder)
        else:
            break_off(folder, monkeypatch)
            with monkeypatch.context() as patch:
                patch.setattr("llmlab.checkpoint.files.save_file", full)
                code, said = command(folder)
        assert code == 1 and "could not save" in said and "No space left on device" in said
        assert not list(folder.rglob("*.part"))
        trainer_of(folder / "state.safetensors")
        if mounted:
            subprocess.run(["mount", "-o", f"remount,size={4 * size}", str(disk)], check=True)
        assert command(folder) == (0, "")
        check_ends_alike(folder, finished)
    finally:
        if mounted:
            subprocess.run(["umount", str(disk)], check=True)


def mount(folder, size):
    start = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        return subprocess.run(start, capture_output=True).returncode == 0
    except OSError:
        return False


def full(*arguments, **keywords):
    raise OSError(errno.ENOSPC, "No space left on device")


def trainer_of(state):
    """A state that can be read, whole."""
    tensors, metadata = checkpoint.load_tensors(state)
    assert metadata["training"]["n_steps"] == 12 and tensors["optimizer.step.norm.weight"] > 0


def test_a_log_that_cannot_be_written_is_named(command, finished, tmp_path, monkeypatch):
    break_off(tmp_path, monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr("llmlab.cli.train.log.json.dumps", full)
        code, said = command(tmp_path)
    assert code == 1 and "log.jsonl: No space left on device" in said
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 7
    (tmp_path / "state.safetensors.123.part").write_text("what a killed process was writing")
    assert command(tmp_path) == (0, "")
    check_ends_alike(tmp_path, finished)


def test_damaged_files_of_a_run_are_named_and_stay(command, finished, tmp_path, monkeypatch):
    break_off(tmp_path, monkeypatch)
    state, tokenizer = tmp_path / "state.safetensors", tmp_path / "tokenizer.json"
    for path, content, message in (
        (state, state.read_bytes()[:-1000], "is not a whole safetensors file"),
        (state, b"", "is not a whole safetensors file"),
        (
            state,
            (finished / "model.safetensors").read_bytes(),
            "is not a checkpoint of a training run: it has no gen",
        ),
        (tokenizer, tokenizer.read_bytes()[:1000], "is not a tokenizer.json"),
    ):
        whole = path.read_bytes()
        path.write_bytes(content)
        code, said = command(tmp_path)
        assert code == 1 and f"{path} {message}" in said and path.read_bytes() == content
        assert path is tokenizer or "give another --run, or move that file away" in said
        path.write_bytes(whole)
    code, said = command(tmp_path, "--seed=3")
    assert code == 1 and f"{state} was made with training setting seed=0; this run has 3" in said
    code, said = command(tmp_path, "--set", "n_layers=2")
    assert code == 1 and f"{state} was made with" in said
    tensors, metadata = checkpoint.load_tensors(state)
    metadata.pop("which")
    checkpoint.save_tensors(tmp_path / "other" / state.name, tensors, metadata)
    (tmp_path / "other" / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    code, said = command(tmp_path / "other")
    assert code == 1 and "was begun with which=None; this run has 'encoder'" in said
    assert command(tmp_path) == (0, "")
    check_ends_alike(tmp_path, finished)


def test_a_folder_that_cannot_be_made_is_named(command, tmp_path):
    (tmp_path / "file").write_text("no folder")
    code, said = command(tmp_path / "file" / "run")
    assert code == 1 and f"cannot write to {tmp_path / 'file' / 'run'}: Not a directory; give another --run" in said


@unix
def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    """In a process of its own: who may do everything may write everywhere."""
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o555)
    for parent in (tmp_path, *list(tmp_path.parents)[:2]):
        parent.chmod(0o755)
    code = "import os, sys\nfrom llmlab.cli import main, train\nif os.getuid() == 0: os.setuid(65534)\nsys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, *ARGUMENTS, f"--run={folder / 'run'}"], capture_output=True, text=True
    )
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert f"llmlab train: cannot write to {folder / 'run'}: Permission denied; give another --run" in done.stderr


def test_a_run_that_diverges_is_told_in_a_line(command, tmp_path):
    code, said = command(tmp_path, "--set", "learning_rate=1e30", "init_std=1e15")
    assert code == 1 and "the gradient is not finite at step" in said and "lower the learning rate" in said
