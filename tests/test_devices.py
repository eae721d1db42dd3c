"""The program on a GPU, emulated: what the CPU gives is expected. Axes: N pool points, K MC samples, C classes."""

import pytest
import torch
from conftest import SMALL, generator, make_settings, random_log_probs
from torch import nn
from torch.nn import functional as F

from alkbald import information, loop
from alkbald.acquisition import METHODS, Batch, kbald_scores
from alkbald.data import load
from alkbald.devices import prepared_device
from alkbald.inference import evaluate, sample_log_probs
from alkbald.information.probabilities import check_probabilities
from alkbald.model import MCDropoutModel, MCDropoutNet, Stage, mnist_cnn


class WithoutStages(MCDropoutModel):
    """A model that inference knows nothing of."""

    num_classes = 10

    def __init__(self):
        super().__init__()
        self.hidden, self.last = nn.Linear(28 * 28, 16), nn.Linear(16, 10)

    def draw_masks(self, num_samples, generator):
        return [(torch.rand(num_samples, 16, generator=generator) < 0.5).to(self.last.weight.device)]

    def forward(self, inputs, masks=None):
        x = self.hidden(inputs.flatten(1)).relu()
        return self.last(x if masks is None else 2 * x * masks[0]).log_softmax(-1)


def perceptron() -> MCDropoutNet:
    stages = [Stage(nn.Linear(28 * 28, 20), dropout=0.5), Stage(nn.Linear(20, 16), dropout=0.3)]
    return MCDropoutNet([*stages, Stage(nn.Linear(16, 10), activation=False)])


def make_model(name: str) -> MCDropoutModel:
    torch.manual_seed(0)
    return {"cnn": lambda: mnist_cnn(10, seed=0), "perceptron": perceptron, "without stages": WithoutStages}[name]()


def images(n: int) -> torch.Tensor:
    return torch.randn(n, 1, 28, 28, generator=generator())


models = pytest.mark.parametrize("name", ["cnn", "perceptron", "without stages"])


@models
@pytest.mark.parametrize("memory_budget", [1, None])
def test_inference(device, name, memory_budget):
    model, inputs = make_model(name), images(7)
    expected = sample_log_probs(model, inputs, 6, generator=generator(1), memory_budget=memory_budget)
    log_probs = sample_log_probs(
        model.to("cuda"), inputs.to("cuda"), 6, generator=generator(1), memory_budget=memory_budget
    )
    assert log_probs.device.type == "cuda"
    assert (log_probs.cpu() - expected).abs().max() < 1e-5


@models
@pytest.mark.parametrize("precision", ["bf16", "tf32"])
def test_inference_in_less_precision(device, name, precision):
    model, inputs = make_model(name), images(7)
    expected = sample_log_probs(model, inputs, 6, generator=generator(1))
    model, inputs = model.to("cuda"), inputs.to("cuda")
    log_probs = sample_log_probs(model, inputs, 6, generator=generator(1), precision=precision)
    assert log_probs.dtype == torch.float32
    assert (log_probs.cpu() - expected).abs().max() < 0.05


@models
@pytest.mark.parametrize("num_samples", [0, 5])
def test_evaluation(device, name, num_samples):
    model, inputs, labels = make_model(name), images(40), torch.arange(40) % 10
    expected = evaluate(model, inputs, labels, num_samples, generator=generator(1))
    result = evaluate(model.to("cuda"), inputs.to("cuda"), labels.to("cuda"), num_samples, generator=generator(1))
    for number in ("accuracy", "nll", "ece", "brier"):
        assert getattr(result, number) == pytest.approx(getattr(expected, number), abs=1e-5)


@models
def test_a_training_step_forward(device, name):
    model, inputs, labels = make_model(name), images(12), torch.arange(12) % 10

    def loss(model, inputs, labels):
        masks = [mask.to(inputs.device) for mask in model.draw_masks(len(inputs), generator(2))]
        return F.nll_loss(model(inputs, masks), labels)

    expected = loss(model, inputs, labels)
    result = loss(model.to("cuda"), inputs.to("cuda"), labels.to("cuda"))
    assert result.device.type == "cuda"
    assert result.item() == pytest.approx(expected.item(), abs=1e-5)


#: Options that make a method take its other path.
OTHER_OPTIONS = [
    ("batchbald", {"max_particles": 100}),  # resamples
    ("conservative_bald", {"threshold": None}),
    ("conservative_bald", {"threshold": 0.02, "min_bald": 0.0}),
    ("kbald", {"order": 3, "memory_budget": 200_000}),  # the pool's probabilities are made anew each time
    ("adaptive_kbald", {"tolerance": 1e-9}),
]


def options_of(name: str) -> dict:
    return {"order": 2} if name == "kbald" else {}


def assert_same(batch: Batch, expected: Batch, margin: float = 1e-5) -> None:
    assert batch.indices == expected.indices
    assert batch.scores == pytest.approx(expected.scores, abs=margin, nan_ok=True)
    assert batch.decision == expected.decision
    assert batch.joint_mutual_information == pytest.approx(expected.joint_mutual_information, abs=margin)
    assert batch.total_correlation == pytest.approx(expected.total_correlation, abs=margin)
    assert torch.equal(batch.log_probs.cpu(), expected.log_probs)


@pytest.mark.parametrize(("name", "options"), [*((name, options_of(name)) for name in METHODS), *OTHER_OPTIONS])
def test_every_method_chooses_what_it_chooses_on_the_cpu(device, name, options):
    log_probs = random_log_probs(300, 16, 10, dtype=torch.float32)
    expected = METHODS[name](log_probs, 5, **options, generator=generator(3))
    batch = METHODS[name](log_probs.to("cuda"), 5, **options, generator=generator(3))
    assert batch.log_probs.device.type == "cuda"
    assert_same(batch, expected)


@pytest.mark.parametrize("name", sorted(METHODS.keys() - {"random"}))
def test_a_pool_on_the_cpu_is_streamed_to_the_device(device, name):
    log_probs = random_log_probs(300, 16, 10, dtype=torch.float32)
    expected = METHODS[name](log_probs, 5, **options_of(name), generator=generator(3))
    batch = METHODS[name](log_probs, 5, **options_of(name), generator=generator(3), device=torch.device("cuda"))
    assert any(line.startswith("acquisition/pool.py") for line in device.copies_to_device)
    assert batch.log_probs.device.type == "cpu"
    assert_same(batch, expected)


def test_equal_points_and_ties_are_told_apart_alike(device):
    log_probs = random_log_probs(4, 8, 3, dtype=torch.float32).repeat(20, 1, 1)
    for name in ("2bald", "3bald", "batchbald", "power_large_batchbald"):
        batch = METHODS[name](log_probs.to("cuda"), 6, generator=generator(3))
        assert_same(batch, METHODS[name](log_probs, 6, generator=generator(3)))


#: Of log-probabilities [N, K, C]: everything public in `information`, and what it is made of.
INFORMATION = {
    "mean_log_probs": information.mean_log_probs,
    "marginal_entropy": information.marginal_entropy,
    "conditional_entropy": information.conditional_entropy,
    "mutual_information": information.mutual_information,
    "joint_mutual_information": information.joint_mutual_information,
    "joint_mutual_information, simulated": lambda log_probs: information.joint_mutual_information(
        log_probs, max_outcomes=10, num_outcomes=500, generator=generator(5)
    ),
    "joint_mutual_information_of_prefixes": lambda log_probs: torch.stack(
        information.joint_mutual_information_of_prefixes(
            log_probs, max_outcomes=30, num_outcomes=500, generator=generator(5)
        )
    ),
    "pairwise_mutual_information": lambda log_probs: information.pairwise_mutual_information(log_probs[0], log_probs),
    "interaction_information": lambda log_probs: information.interaction_information(log_probs[:3]),
    "total_correlation": lambda log_probs: information.total_correlation(log_probs, 1.0),
    "check_probabilities": check_probabilities,
    "kbald_scores": lambda log_probs: kbald_scores(log_probs, order=3),
}


@pytest.mark.parametrize("name", INFORMATION)
def test_information(device, name):
    log_probs = random_log_probs(4, 16, 5)
    expected, result = INFORMATION[name](log_probs), INFORMATION[name](log_probs.to("cuda"))
    if isinstance(expected, torch.Tensor):
        assert result.device.type == "cuda"
        result, expected = result.flatten().tolist(), expected.flatten().tolist()
    assert result == pytest.approx(expected, abs=1e-9)


def test_bad_predictions_are_refused_in_the_same_words(device):
    log_probs = random_log_probs(5, 4, 3)
    log_probs[3] += 0.1
    messages = []
    for predictions in (log_probs, log_probs.to("cuda")):
        with pytest.raises(ValueError, match="pool index 3 sums to") as error:
            METHODS["bald"](predictions, 2)
        messages.append(str(error.value))
    assert messages[0] == messages[1]


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    """A short training on the CPU: its weights, and how it went."""
    settings = make_settings(tmp_path_factory.mktemp("training"), *SMALL)
    data = load(**vars(settings.data))
    model, fitted = loop.train(settings, data, data.initial, 0)
    return model.state_dict(), fitted


@pytest.fixture
def trained_already(monkeypatch, training):
    """Every training ends with the weights of that one: nothing is computed backwards."""
    weights, fitted = training

    def fit(model, *data, **options):
        assert {tensor.device for tensor in data} == {model.stages[0].layer.weight.device}
        model.load_state_dict(weights)
        return fitted

    monkeypatch.setattr(loop, "fit", fit)


def without_times(row: dict) -> dict:
    """With the numbers of each bin, which are one text, as values of their own."""
    bins = {key: [float(number) for number in row[key].split()] for key in row if key.startswith("bin_")}
    numbers = {f"{key} {b}": number for key in bins for b, number in enumerate(bins[key])}
    untimed = {key for key in row if not key.startswith(("seconds", "bin_")) and key != "peak_memory_bytes"}
    return {key: row[key] for key in untimed} | numbers


@pytest.mark.parametrize("method", ["random", "2bald", "batchbald", "dynamic_bald"])
def test_a_round(device, trained_already, tmp_path, method):
    rounds = []
    for where in ("cpu", "cuda"):
        settings = make_settings(tmp_path, *SMALL, f"method={method}", f"device={where}", "pool_sample=200")
        data = load(**vars(settings.data), device=prepared_device(where))
        rounds.append(loop.active_learning_round(settings, data, list(data.initial), 1))
    (expected, points, _), (row, points_of_device, _) = rounds
    margin = 1e-4  # predictions differ by rounding, and BatchBALD resamples outcomes of nearly the same weight
    assert row["peak_memory_bytes"] == torch.cuda.max_memory_allocated()
    assert without_times(row) == pytest.approx(without_times(expected), abs=margin)
    assert len(points) > 0
    for point, other in zip(points, points_of_device, strict=True):
        assert other == pytest.approx(point, abs=margin, nan_ok=True)


def test_a_run_that_is_resumed(device, trained_already, tmp_path):
    acquired, accuracies = [], []
    for where in ("cpu", "auto"):
        for max_labels in (30, 40):
            options = [f"device={where}", f"max_labels={max_labels}", "method=bald", "pool_sample=200"]
            settings = make_settings(tmp_path / where, *SMALL, *options)
            run = loop.run(settings)
        acquired.append([(point["pool_position"], point["label"]) for point in run.acquired])
        accuracies.append([row["accuracy"] for row in run.rounds])
    assert '"device": "emulated"' in (run.folder / "provenance.json").read_text()
    assert acquired[0] == acquired[1]
    assert len(acquired[0]) == 20
    assert accuracies[0] == accuracies[1]
