"""Two processes on the CPU under torchrun, joined by gloo: they train one world, as one process with both batches."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import l2s_node
from l2s_node.errors import TrainError
from l2s_node.models import store
from l2s_node.models.pix2pix import Subpixel
from l2s_node.train import group

ROOT = Path(l2s_node.__file__).parents[1]


def torchrun(script: Path, *args: object, processes: int = 2) -> subprocess.CompletedProcess[str]:
    """PyTorch's own launcher, which picks a free port by itself."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.run(
        [*command, str(script), *map(str, args)], capture_output=True, text=True, timeout=120, cwd=ROOT
    )


def script(folder: Path, code: str) -> Path:
    path = folder / "script.py"
    head = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(Path(__file__).parent)!r}]\n"
    path.write_text(head + "from quick import *\nimport torch\ntorch.set_num_threads(1)\nquick()\n" + code)
    return path


STEPS = """
from l2s_node.models.pix2pix import Subpixel
from l2s_node.train.group import join
from l2s_node.train.nets import Nets

with join(torch.device("cpu")) as group:
    torch.manual_seed(group.rank)  # what they start from differs, until the group makes it one
    nets = Nets(Subpixel((4, 6, 8)), critics(group.device), (1e-3, 1e-3), group.device)
    nets.generator.eval()  # a norm's statistics are of each process's own batch
    if not group.alone:
        nets.spread()
        group.share(nets.tensors().values())
    given = torch.load(sys.argv[1], weights_only=True)
    share = 6 // group.size
    part = slice(share * group.rank, share * (group.rank + 1))
    gradients = {}
    for step in range(2):
        made = nets.play(given["inputs"][part], [field[part] for field in given["fields"]])
        patches, projected = nets.judge(made.detach(), nets.critic.perceive(made.detach()))
        nets.descend(1, sum((each - 1).square().mean() for each in patches + projected))
        with nets.frozen():
            patches = nets.critic.patches(made)
        nets.descend(0, (made - given["targets"][part]).abs().mean() - sum(each.mean() for each in patches))
        nets.follow()
        for name, net in (("generator", nets.generator), ("critic", nets.critic)):
            for key, weight in net.named_parameters():
                if weight.grad is not None:
                    gradients[f"{step} {name} {key}"] = weight.grad.clone()
    torch.save({"gradients": gradients, "tensors": nets.tensors()}, f"{sys.argv[2]}.{group.size}.{group.rank}")
"""


@pytest.mark.slow
def test_two_processes_step_as_one_with_the_whole_batch(tmp_path):
    torch.manual_seed(7)
    given = {
        "inputs": torch.rand(6, 1, 64, 64) * 2 - 1,
        "targets": torch.rand(6, 3, 64, 64) * 2 - 1,
        "fields": Subpixel((4, 6, 8)).random_field(6, 64, 64, seed=1),
    }
    torch.save(given, tmp_path / "given.pt")
    code = script(tmp_path, STEPS)
    for processes in (1, 2):
        ran = torchrun(code, tmp_path / "given.pt", tmp_path / "out", processes=processes)
        assert ran.returncode == 0, ran.stderr
    whole, one, two = (torch.load(tmp_path / f"out.{which}", weights_only=True) for which in ("1.0", "2.0", "2.1"))
    assert len(whole["gradients"]) > 50
    for kind in ("gradients", "tensors"):
        assert all(torch.equal(one[kind][name], two[kind][name]) for name in one[kind])
    for name, gradient in whole["gradients"].items():
        torch.testing.assert_close(one["gradients"][name], gradient, rtol=1e-3, atol=1e-6, msg=name)


TRAINING = """
from l2s_node.errors import TrainError
from l2s_node.train import loop
from l2s_node.train.loop import Training

train = Training.train
def watched(training):
    train(training)
    out = Path(sys.argv[2]) / f"end.{training.group.rank}"
    torch.save({"tensors": training.nets.tensors(), "losses": training.progress.losses}, out)
    if sys.argv[4] == "killed":
        raise SystemExit(3)
Training.train = watched
try:
    loop.run(small(Path(sys.argv[1]), Path(sys.argv[2]), images=int(sys.argv[3]), resume=sys.argv[4] == "resume"))
except TrainError as err:
    raise SystemExit(str(err))
"""


@pytest.mark.slow
def test_a_training_of_two_processes_is_one_training(pictures, tmp_path):
    code = script(tmp_path, TRAINING)
    assert torchrun(code, pictures, tmp_path, 16, "killed").returncode  # torchrun's own for a process that failed
    checkpoint = tmp_path / "meadow" / "small.training" / "checkpoint.pt"
    assert torch.load(checkpoint, weights_only=True)["progress"]["images"] == 16  # two steps of twice four
    ran = torchrun(code, pictures, tmp_path, 32, "resume")
    assert ran.returncode == 0, ran.stderr
    one, two = (torch.load(tmp_path / f"end.{rank}", weights_only=True) for rank in (0, 1))
    trained = [name for name in one["tensors"] if "running_" not in name]
    assert all(torch.equal(one["tensors"][name], two["tensors"][name]) for name in trained)
    assert one["losses"] != two["losses"]  # of pictures of their own
    card = store.read_card(tmp_path / "meadow" / "small.safetensors")
    assert card.training["images"] == 32 and card.training["processes"] == 2
    assert len(list(checkpoint.parent.glob("sheet-*.jpg"))) == 1 and not checkpoint.exists()
    assert ran.stderr.count("going on after") <= 1  # only the first one speaks


def test_alone_nothing_is_waited_for():
    with group.join(torch.device("cpu")) as alone:
        assert alone.first and alone.alone and alone.agree(1.0, 2.0) == [1.0, 2.0]
        alone.wait()


def test_what_no_group_can_train_on_is_one_sentence(monkeypatch):
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TrainError, match="several processes can't train on mps"), group.join(torch.device("mps")):
        pass
