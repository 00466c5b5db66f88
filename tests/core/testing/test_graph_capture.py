"""Recording of work on the CPU as in a CUDA graph: refusals and replays."""

import pytest
import torch

from fusion.core.testing.graph_capture import CpuTape

VALUE, SHAPE = r"the code reads a value of a tensor", r"the shape of a result depends on values"


def tape():
    return CpuTape(torch.device("cpu"))


@pytest.mark.parametrize(
    ("work", "why"),
    [
        (lambda x: x * x.sum().item(), VALUE),
        (lambda x: x if x.sum() > 0 else -x, VALUE),
        (lambda x: x if torch.equal(x, x) else -x, VALUE),
        (lambda x: x[x > 0], SHAPE),
        (lambda x: x[(x > 0).to(torch.uint8)], SHAPE),
        (lambda x: x.masked_select(x > 0), SHAPE),
        (lambda x: x.nonzero(), SHAPE),
        (lambda x: x.unique(), SHAPE),
        (lambda x: torch.bincount(x.abs().long()), SHAPE),
        (lambda x: x.clone().index_put_((x > 0,), torch.zeros(())), SHAPE),
    ],
)
@pytest.mark.filterwarnings("ignore:indexing with dtype torch.uint8")
def test_reading_values_is_refused(work, why):
    x = torch.tensor([1.0, -2.0, 3.0])
    work(x)  # without recording, the work succeeds
    with pytest.raises(RuntimeError, match=why):
        tape().record(lambda: work(x))


@pytest.mark.parametrize(
    "work",
    [
        lambda x: torch.where(x > 0, x, 0.0),
        lambda x: x[torch.tensor([2, 0])],
        lambda x: x.clone().index_put_((torch.tensor([1]),), torch.zeros(())),
        lambda x: x.relu().softmax(dim=0),
    ],
)
def test_work_of_fixed_shape_is_recorded(work):
    x = torch.tensor([1.0, -2.0, 3.0])
    contents, _ = tape().record(lambda: work(x))
    assert torch.equal(contents, work(x))


def test_values_can_be_read_after_a_refusal():
    x = torch.ones(2)
    with pytest.raises(RuntimeError, match=VALUE):
        tape().record(lambda: x * x.sum().item())
    assert x.sum().item() == 2


def test_a_replay_writes_into_the_recorded_tensor():
    x = torch.tensor([1.0, 2.0])
    contents, replay = tape().record(lambda: 2 * x)
    place = contents.data_ptr()
    x.copy_(torch.tensor([5.0, 6.0]))
    assert contents.tolist() == [2.0, 4.0]  # unchanged until the replay
    replay()
    assert contents.tolist() == [10.0, 12.0]
    assert contents.data_ptr() == place


def test_a_backward_pass_is_replayed_under_no_grad():
    weight, x = torch.tensor([3.0], requires_grad=True), torch.tensor([2.0])

    def gradient():
        (result,) = torch.autograd.grad((weight * x).square().sum(), weight)
        return result

    contents, replay = tape().record(gradient)
    assert contents.tolist() == [24.0]  # 2 w x^2
    assert not contents.requires_grad
    x.fill_(1.0)
    with torch.no_grad():
        replay()
    assert contents.tolist() == [6.0]
