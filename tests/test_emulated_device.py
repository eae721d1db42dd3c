"""The emulated device itself; test_devices.py runs the program on it."""

import device_report
import pytest
import torch
from conftest import generator, random_log_probs
from emulated_device import PACKAGE, EmulatedTensor, emulated_device

from alkbald.acquisition import METHODS
from alkbald.information import joint_mutual_information

FACTORIES = {
    "zeros": lambda device: torch.zeros(2, 3, device=device),
    "ones": lambda device: torch.ones(3, dtype=torch.long, device=device),
    "full": lambda device: torch.full((2,), 7.0, device=device),
    "arange": lambda device: torch.arange(5, device=device),
    "tensor": lambda device: torch.tensor([[1, 2], [3, 4]], device=device),
    "scalar": lambda device: torch.tensor(3.5, device=device),
    "new_zeros": lambda device: torch.arange(3, device=device).new_zeros(4),
    "new_full": lambda device: torch.arange(3.0, device=device).new_full((2, 2), 0.5),
    "new_tensor": lambda device: torch.arange(3.0, device=device).new_tensor([1.0, 2.0]),
    "zeros_like": lambda device: torch.zeros_like(torch.arange(3), device=device),
    "moved": lambda device: torch.arange(3).to(device),
    "moved and cast": lambda device: torch.arange(3).to(device, torch.float64),
}


@pytest.fixture
def matrix(device):
    """3 x 4 on the emulated device."""
    tensor = torch.arange(12.0).view(3, 4).to("cuda")
    device.reset()
    return tensor


@pytest.mark.parametrize("name", FACTORIES)
def test_what_is_made_on_the_device_is_there(device, name):
    expected, made = FACTORIES[name]("cpu"), FACTORIES[name]("cuda")
    assert isinstance(made, EmulatedTensor)
    assert not isinstance(expected, EmulatedTensor)
    assert made.device == torch.device("cuda", 0)
    assert made.is_cuda
    assert made.dtype == expected.dtype
    assert made.tolist() == expected.tolist()
    assert FACTORIES[name]("cuda:0").tolist() == expected.tolist()


def test_uninitialised_memory_is_there_too(device):
    assert torch.empty(3, device="cuda").device.type == "cuda"
    assert torch.empty(2, device="cuda").new_empty(5).shape == (5,)


@pytest.mark.parametrize("inference", [True, False])
def test_operations_agree_with_the_cpu_and_stay_on_the_device(device, inference):
    x, y = torch.randn(5, 4, generator=generator(0)), torch.randn(4, 6, generator=generator(1))
    image, kernel = torch.randn(2, 3, 8, 8, generator=generator(2)), torch.randn(4, 3, 3, 3, generator=generator(3))
    operations = {
        "product": lambda x, y, image, kernel: x @ y,
        "linear": lambda x, y, image, kernel: torch.nn.functional.linear(x, y.T, y[0]),
        "convolution": lambda x, y, image, kernel: torch.nn.functional.conv2d(image, kernel, kernel[:, 0, 0, 0]),
        "sort": lambda x, y, image, kernel: x.sort(-1, descending=True).values,
        "number": lambda x, y, image, kernel: 2 * x + torch.tensor(1.0),  # 0-dimensional: PyTorch takes its value
        "gather": lambda x, y, image, kernel: x.gather(1, x.argsort(-1)),
        "cat": lambda x, y, image, kernel: torch.cat([x, y.T[:, :4]]),
        "where": lambda x, y, image, kernel: torch.where(x > 0, x, 0.0).log_softmax(-1),
    }
    for operation in operations.values():
        with torch.inference_mode(inference):
            expected = operation(x, y, image, kernel)
            result = operation(*(tensor.to("cuda") for tensor in (x, y, image, kernel)))
        assert result.device.type == "cuda"
        assert torch.allclose(result.cpu(), expected, atol=1e-6)
    assert not device.reads


@pytest.mark.parametrize("inference", [True, False])
def test_views_share_memory_and_results_in_place_are_the_argument(matrix, inference):
    with torch.inference_mode(inference):
        matrix[1] = 0.0
        matrix[:, 2:].mul_(2)
        matrix.view(-1)[-1] = torch.tensor(5.0, device="cuda")
        column = matrix.T[0]
        column[0] = 9.0
        assert matrix.tolist() == [[9, 1, 4, 6], [0, 0, 0, 0], [8, 9, 20, 5]]
        assert matrix.add_(1) is matrix
        out = torch.empty(3, 3, device="cuda")
        assert torch.mm(matrix, matrix.T, out=out) is out
        assert out[0, 0] == 10**2 + 2**2 + 5**2 + 7**2
        assert matrix[:1].squeeze_(0).t_().unsqueeze_(1).shape == (4, 1)
        assert (matrix[0] @ matrix.T).shape == (3,)


def test_arguments_of_two_devices_are_refused(matrix):
    host = torch.ones(3, 4)
    rows = torch.tensor([0, 2])
    for mixed in (
        lambda: matrix + host,
        lambda: host @ matrix.T,
        lambda: host + matrix[0, 0],  # CUDA takes a number from the CPU, the CPU none from CUDA
        lambda: torch.cat([matrix, host]),
        lambda: torch.mm(matrix, matrix.T, out=torch.empty(3, 3)),
        lambda: matrix.index_select(0, rows),
        lambda: matrix.gather(0, rows[:, None]),
        lambda: matrix.add_(host),
        lambda: torch.equal(matrix, host),
        lambda: host[rows.to("cuda")],
        lambda: host.index_put_((rows,), matrix[0, 0]),
        lambda: matrix.index_put_((rows.to("cuda"),), host[rows]),
        lambda: matrix.numpy(),
        lambda: torch.rand(3, generator=generator(), device="cuda"),
        lambda: matrix.bernoulli_(generator=generator()),
        lambda: torch.zeros(3, device="cuda:1"),
    ):
        with pytest.raises(RuntimeError, match=r"same device|device type|with indices|ordinal|numpy"):
            mixed()


#: What is done with a matrix m, its mask and its rows; copies to the device, reads and copies to the host.
COUNTED = {
    "product": (lambda m, mask, rows: m @ m.T, 0, 0, 0),
    "cast": (lambda m, mask, rows: m.double(), 0, 0, 0),
    "stay": (lambda m, mask, rows: m.to("cuda"), 0, 0, 0),
    "zeros": (lambda m, mask, rows: torch.zeros(3, device="cuda"), 0, 0, 0),
    "fill": (lambda m, mask, rows: m[0].fill_(2.0), 0, 0, 0),
    "assign a number": (lambda m, mask, rows: m.__setitem__(0, 1.0), 0, 0, 0),
    "fill a mask": (lambda m, mask, rows: m.__setitem__(mask, 0.0), 0, 0, 0),
    "masked_fill": (lambda m, mask, rows: m.masked_fill(mask, 0.0), 0, 0, 0),
    "rows of the device": (lambda m, mask, rows: m[rows], 0, 0, 0),
    "to the device": (lambda m, mask, rows: torch.ones(3).to("cuda"), 1, 0, 0),
    "tensor": (lambda m, mask, rows: torch.tensor([1.0], device="cuda"), 1, 0, 0),
    "assign from the host": (lambda m, mask, rows: m[0].copy_(torch.ones(4)), 1, 0, 0),
    "assign without waiting": (lambda m, mask, rows: m[0].copy_(torch.ones(4), non_blocking=True), 1, 0, 0),
    "rows of the host": (lambda m, mask, rows: m[torch.tensor([0, 2])], 1, 0, 0),
    "rows in a list": (lambda m, mask, rows: m[[0, 2]], 1, 0, 0),
    "assign a number to rows": (lambda m, mask, rows: m.__setitem__(rows, 1.0), 1, 0, 0),
    "item": (lambda m, mask, rows: m[0, 0].item(), 0, 1, 0),
    "int": (lambda m, mask, rows: int(m[0, 0]), 0, 1, 0),
    "bool": (lambda m, mask, rows: bool((m > 0).all()), 0, 1, 0),
    "index": (lambda m, mask, rows: m[rows[0]], 0, 1, 0),
    "nonzero": (lambda m, mask, rows: m.nonzero(), 0, 1, 0),
    "where": (lambda m, mask, rows: torch.where(mask), 0, 1, 0),
    "select a mask": (lambda m, mask, rows: m[mask], 0, 1, 0),
    "masked_select": (lambda m, mask, rows: m.masked_select(mask), 0, 1, 0),
    "assign to a mask": (lambda m, mask, rows: m.__setitem__(mask, m[0, 0]), 0, 1, 0),
    "equal": (lambda m, mask, rows: torch.equal(m, m.clone()), 0, 1, 0),
    "unique": (lambda m, mask, rows: m.unique(), 0, 1, 0),
    "repeat": (lambda m, mask, rows: m.repeat_interleave(2, 0), 0, 0, 0),
    "repeat by counts": (lambda m, mask, rows: m[rows].repeat_interleave(rows, 0), 0, 1, 0),
    "repeat to a length": (lambda m, mask, rows: m[rows].repeat_interleave(rows, 0, output_size=2), 0, 0, 0),
    "cpu": (lambda m, mask, rows: m.cpu(), 0, 0, 1),
    "tolist": (lambda m, mask, rows: m.tolist(), 0, 0, 1),
    "copy to the host": (lambda m, mask, rows: torch.empty(3, 4).copy_(m), 0, 0, 1),
}


@pytest.mark.parametrize("inference", [True, False])
@pytest.mark.parametrize("name", COUNTED)
def test_copies_and_waits_are_counted(device, matrix, name, inference):
    work, *expected = COUNTED[name]
    mask, rows = matrix > 4, torch.tensor([0, 2], device="cuda")
    device.reset()
    with torch.inference_mode(inference):
        work(matrix, mask, rows)
    counted = [device.copies_to_device.total(), device.reads.total(), device.copies_to_host.total()]
    assert counted == expected
    assert device.waits.total() == expected[1] + expected[2]


def test_a_count_names_the_line_that_asked(device):
    log_probs = random_log_probs(3, 2, 4).to("cuda")
    joint_mutual_information(log_probs)
    assert device.copies_to_device == {"outside alkbald": 1}
    lines = [line.partition(":") for line in device.reads]
    assert {file for file, _, _ in lines} == {
        f"information/{name}.py" for name in ("probabilities", "particles", "measures")
    }
    source = {file: (PACKAGE / file).read_text().splitlines() for file, _, _ in lines}
    assert any(".item()" in source[file][int(number) - 1] for file, _, number in lines)


def test_a_module_moves_to_the_device(device):
    layer = torch.nn.Conv2d(1, 2, 3).to(memory_format=torch.channels_last).to("cuda")
    assert {parameter.device.type for parameter in layer.parameters()} == {"cuda"}
    assert device.copies_to_device.total() == 2
    assert layer(torch.zeros(1, 1, 3, 3, device="cuda")).device.type == "cuda"
    layer.load_state_dict(torch.nn.Conv2d(1, 2, 3).state_dict())
    assert device.copies_to_device.total() == 4


def test_afterwards_all_is_as_it_was():
    def answers():
        return {name: getattr(torch.cuda, name) for name in dir(torch.cuda)}

    tensors = []

    def fails():
        with emulated_device():
            assert torch.cuda.device_count() == 1
            tensors.append(torch.zeros(3, device="cuda"))
            raise ZeroDivisionError

    before = answers()
    with pytest.raises(ZeroDivisionError):
        fails()
    assert answers() == before
    assert not torch._C._only_lift_cpu_tensors()
    assert not torch.__future__.get_overwrite_module_params_on_conversion()
    assert not isinstance(torch.tensor([1.0]) + 1, EmulatedTensor)
    with pytest.raises(RuntimeError, match="that is gone"):
        tensors[0] + 1
    if not torch.cuda.is_available():
        with pytest.raises((RuntimeError, AssertionError)):
            torch.zeros(3, device="cuda")


def test_the_report_has_a_row_for_inference_and_every_method(monkeypatch, capsys):
    sizes = ["--pool", "30", "--inputs", "2", "--samples", "4", "--classes", "3", "--batch", "2", "--lines", "1"]
    monkeypatch.setattr("sys.argv", ["device_report.py", *sizes])
    device_report.main()
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    counts = {row[0]: [int(count) for count in row[1:]] for row in rows if len(row) == 4}
    assert set(counts) == {"sample_log_probs", *METHODS} - {"kbald"}
    assert all(sum(row) > 0 for row in counts.values())
    assert any(row[1] == "waits," and row[2].startswith("acquisition/pool.py:") for row in rows)
