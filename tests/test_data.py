import functools
import gzip
import hashlib
import http.server
import io
import threading
import zipfile

import pytest
import torch
from conftest import FILES, copy_mnist
from torchvision import datasets

from alkbald import data
from alkbald.data import DataError, downloads, load

# The initial set of the paper's runs, as indices of the original training set.
INITIAL = [27720, 58769, 41424, 38779, 4722, 55202, 5640, 7080, 18133, 17020]
INITIAL += [26331, 53946, 2573, 43726, 56897, 19635, 37312, 14438, 40448, 20130]


@pytest.fixture
def no_network(monkeypatch):
    for cls in (datasets.MNIST, datasets.FashionMNIST):
        monkeypatch.setattr(cls, "mirrors", ["http://127.0.0.1:9/"])
    monkeypatch.setattr(datasets.EMNIST, "url", "http://127.0.0.1:9/gzip.zip")


def test_digits_need_no_files(tmp_path):
    digits = load("digits", root=tmp_path / "none", validation_size=300, device="cpu")
    assert digits.pool_inputs.shape == (1047, 1, 28, 28)
    assert digits.validation_inputs.shape == (300, 1, 28, 28)
    assert digits.test_inputs.shape == (450, 1, 28, 28)
    assert not (tmp_path / "none").exists()
    assert len(set(digits.pool_index.tolist())) == 1047
    assert digits.pool_labels[digits.initial].tolist() == [c for c in range(10) for _ in range(2)]


def test_noise_is_on_the_pool_alone_and_fixed_by_the_split_seed():
    options = {"root": "unused", "validation_size": 300}
    clean, noisy, again = (load("digits", **options, noise=noise) for noise in (0.0, 0.1, 0.1))
    other = load("digits", **options, split_seed=1)
    noise = noisy.pool_inputs - clean.pool_inputs
    assert noise.std().item() == pytest.approx(0.1, rel=0.01)
    assert torch.equal(noisy.pool_inputs, again.pool_inputs)
    assert torch.equal(noisy.validation_inputs, clean.validation_inputs)
    assert torch.equal(noisy.test_inputs, clean.test_inputs)
    assert noisy.initial != other.initial
    assert noisy.pool_index.tolist() != other.pool_index.tolist()


def test_repetition_copies_the_pool_with_noise_of_its_own():
    options = {"root": "unused", "validation_size": 300}
    once, thrice = load("digits", **options), load("digits", **options, repeats=3)
    n = len(once.pool_labels)
    assert thrice.initial == once.initial
    assert len(thrice.pool_labels) == 3 * n
    for copy in range(3):
        part = slice(copy * n, (copy + 1) * n)
        assert torch.equal(thrice.pool_labels[part], once.pool_labels)
        assert torch.equal(thrice.pool_index[part], once.pool_index)
    assert torch.equal(thrice.pool_inputs[:n], once.pool_inputs)
    assert (thrice.pool_inputs[:n] - thrice.pool_inputs[n : 2 * n]).std().item() == pytest.approx(0.02**0.5, rel=0.02)


def test_without_validation_the_pool_is_the_whole_training_set():
    digits = load("digits", root="unused", validation_size=0)
    assert digits.pool_index.tolist() == list(range(1347))
    assert digits.validation_inputs.shape == (0, 1, 28, 28)
    assert torch.equal(digits.pool_labels[digits.initial].sort().values, torch.arange(10).repeat_interleave(2))


def test_too_few_images_are_named_with_their_number():
    with pytest.raises(DataError, match="initial_per_class=200 needs 200 pool images of class 0, there are 105"):
        load("digits", root="unused", validation_size=300, initial_per_class=200)
    for size in (5, 1347, 10**6):
        with pytest.raises(DataError, match=f"validation_size={size} cannot be split off 1347 training images"):
            load("digits", root="unused", validation_size=size)


def test_mnist_has_the_papers_split_and_initial_set(mnist_root):
    mnist = load("mnist", root=mnist_root)
    assert mnist.pool_index[mnist.initial].tolist() == INITIAL
    assert mnist.pool_labels[mnist.initial].tolist() == [c for c in range(10) for _ in range(2)]
    assert (len(mnist.pool_labels), len(mnist.validation_labels), len(mnist.test_labels)) == (55904, 4096, 10000)
    published = datasets.MNIST(str(mnist_root), train=True)
    assert torch.equal(published.targets[mnist.pool_index], mnist.pool_labels)
    image = (published.data[mnist.pool_index[0]].float() / 255 - 0.1307) / 0.3081
    assert (mnist.pool_inputs[0, 0] - image).std().item() == pytest.approx(0.1, rel=0.1)
    test_image = (datasets.MNIST(str(mnist_root), train=False).data[0].float() / 255 - 0.1307) / 0.3081
    assert torch.allclose(mnist.test_inputs[0, 0], test_image, atol=1e-6)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "emnist"])
def test_missing_files_without_network_say_what_to_do(name, tmp_path, no_network):
    with pytest.raises(DataError) as error:
        load(name, root=tmp_path)
    message = str(error.value)
    assert "data=digits" in message
    assert str(tmp_path) in message
    assert "\n" not in message
    for file in ["gzip.zip"] if name == "emnist" else FILES:
        assert f"{file} is missing" in message


@pytest.mark.parametrize("damage", ["truncated", "flipped"])
@pytest.mark.parametrize("file", [FILES[1], FILES[2]])
def test_damaged_archives_are_named(file, damage, mnist_archives, tmp_path, no_network):
    archive = copy_mnist(mnist_archives, tmp_path) / "MNIST" / "raw" / file
    content = bytearray(archive.read_bytes())
    if damage == "truncated":
        del content[len(content) // 2 :]
    else:
        content[len(content) // 2] ^= 1
    archive.write_bytes(content)
    with pytest.raises(DataError, match=f"{file} is truncated or damaged, delete it"):
        load("mnist", root=tmp_path)


@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_damage_to_unpacked_files_is_mended(damage, mnist_archives, tmp_path, no_network):
    root = copy_mnist(mnist_archives, tmp_path)
    load("mnist", root=root)
    unpacked = root / "MNIST" / "raw" / "train-labels-idx1-ubyte"
    right = unpacked.read_bytes()
    content = bytearray(right)
    if damage == "truncated":
        del content[1000:]
    else:
        content[1000] = (content[1000] + 1) % 10
    unpacked.write_bytes(content)
    load("mnist", root=root)
    assert unpacked.read_bytes() == right


def test_pickles_of_old_torchvisions_are_not_read(mnist_archives, tmp_path, no_network):
    root = copy_mnist(mnist_archives, tmp_path)
    processed = root / "MNIST" / "processed"
    processed.mkdir()
    for name in ("training.pt", "test.pt"):
        torch.save((torch.zeros(10, 28, 28, dtype=torch.uint8), torch.zeros(10, dtype=torch.long)), processed / name)
    assert len(load("mnist", root=root).test_labels) == 10_000


def test_downloads_go_through_torchvision(mnist_archives, tmp_path, monkeypatch):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            requested.append(self.path)

    requested = []
    handler = functools.partial(Quiet, directory=str(mnist_archives))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(datasets.MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        mnist = load("mnist", root=tmp_path)
        server.shutdown()
    assert {path.strip("/") for path in requested} == set(FILES)
    assert mnist.pool_index[mnist.initial].tolist() == INITIAL


def idx(array: torch.Tensor) -> bytes:
    header = bytes([0, 0, 8, array.dim()]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + array.byte().numpy().tobytes()


def publish(monkeypatch, name: str, archives: dict[str, bytes], raw) -> None:
    """Puts archives into the folder of downloads, as if they were the published ones."""
    raw.mkdir(parents=True, exist_ok=True)
    for file, content in archives.items():
        (raw / file).write_bytes(content)
    cls = getattr(datasets, name)
    md5 = {file: hashlib.md5(content, usedforsecurity=False).hexdigest() for file, content in archives.items()}
    monkeypatch.setattr(cls, *(("md5", md5["gzip.zip"]) if name == "EMNIST" else ("resources", list(md5.items()))))
    digests = {file: hashlib.sha256(content).hexdigest() for file, content in archives.items()}
    monkeypatch.setitem(downloads.SHA256, name, digests)


def publish_emnist(monkeypatch, root, images: torch.Tensor):
    """One archive of archives, and the files that torchvision unpacks from it."""
    raw = root / "EMNIST" / "raw"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for part in ("train", "test"):
            for what, array in (("images-idx3", images), ("labels-idx1", torch.arange(len(images)) % 47)):
                archive.writestr(f"gzip/emnist-balanced-{part}-{what}-ubyte.gz", gzip.compress(idx(array)))
    publish(monkeypatch, "EMNIST", {"gzip.zip": buffer.getvalue()}, raw)
    with zipfile.ZipFile(buffer) as archive:
        for member in archive.namelist():
            (raw / member.removeprefix("gzip/").removesuffix(".gz")).write_bytes(gzip.decompress(archive.read(member)))
    return raw


def test_emnist_is_the_balanced_split_turned_upright(tmp_path, monkeypatch):
    images = torch.randint(256, (47 * 4, 28, 28))
    publish_emnist(monkeypatch, tmp_path, images)
    emnist = load("emnist", root=tmp_path, validation_size=47)
    assert emnist.num_classes == 47
    assert len(emnist.initial) == 94
    source = data.SOURCES["emnist"](tmp_path)
    assert torch.allclose(source.train_images[3, 0] * 255, images[3].T.float())
    assert torch.allclose(emnist.test_inputs.mean(), torch.tensor(0.0), atol=1e-4)


def test_damage_to_emnists_unpacked_files_is_mended(tmp_path, monkeypatch, no_network):
    raw = publish_emnist(monkeypatch, tmp_path, torch.randint(256, (47 * 4, 28, 28)))
    labels = raw / "emnist-balanced-train-labels-idx1-ubyte"
    content = labels.read_bytes()
    labels.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    load("emnist", root=tmp_path, validation_size=47)
    assert labels.read_bytes() == content
    (raw / "gzip.zip").unlink()
    with pytest.raises(DataError, match=r"gzip.zip is missing"):
        load("emnist", root=tmp_path, validation_size=47)


def small_archives(train: int = 200, test: int = 50) -> dict[str, bytes]:
    archives = {}
    for part, n in (("train", train), ("t10k", test)):
        archives[f"{part}-images-idx3-ubyte.gz"] = gzip.compress(idx(torch.randint(256, (n, 28, 28))))
        archives[f"{part}-labels-idx1-ubyte.gz"] = gzip.compress(idx(torch.arange(n) % 10))
    return archives


def test_fashion_mnist_reads_its_own_folder(tmp_path, monkeypatch, no_network):
    archives = small_archives()
    raw = tmp_path / "FashionMNIST" / "raw"
    publish(monkeypatch, "FashionMNIST", archives, raw)
    for file, content in archives.items():
        (raw / file).with_suffix("").write_bytes(gzip.decompress(content))
    fashion = load("fashion_mnist", root=tmp_path, validation_size=50)
    assert (len(fashion.pool_labels), len(fashion.test_labels), fashion.num_classes) == (150, 50, 10)
    # An archive beside them that is not the published one is not trusted, nor are files without their archive.
    (raw / FILES[0]).write_bytes(gzip.compress(b"something else"))
    with pytest.raises(DataError, match=f"{FILES[0]} is truncated or damaged"):
        load("fashion_mnist", root=tmp_path, validation_size=50)
    (raw / FILES[0]).unlink()
    unpacked = FILES[0].removesuffix(".gz")
    with pytest.raises(DataError, match=f"{FILES[0]} is missing, and {unpacked} cannot be verified without it"):
        load("fashion_mnist", root=tmp_path, validation_size=50)


def test_the_digests_are_those_of_the_published_archives(mnist_archives):
    for file, digest in downloads.SHA256["MNIST"].items():
        assert hashlib.sha256((mnist_archives / file).read_bytes()).hexdigest() == digest
