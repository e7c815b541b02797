"""The image domains: where their data come from, and what their tasks promise."""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import os
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from isoloss.errors import InputError
from isoloss.experiments import noise_autoencoder, noise_digits, noise_fashion, noise_vae
from isoloss.experiments.batch_size import images as module
from isoloss.experiments.batch_size.image_tasks import autoencoder, classifier, vae
from isoloss.experiments.batch_size.images import Images, digits, fashion, load_images
from isoloss.lab.batch_size.curve import train_curve
from isoloss.lab.batch_size.task import Learner, Task

TASKS: dict[str, Callable[[Images], Task]] = {
    "classifier": lambda images: classifier(images, hidden=16, rate=0.5, rate_batch=32),
    "autoencoder": lambda images: autoencoder(images, hidden=16, code=4, rate=0.1, rate_batch=32),
    "vae": lambda images: vae(images, hidden=32, code=4, rate=0.1, rate_batch=32),
}


@pytest.fixture(scope="module")
def drawn() -> Images:
    pytest.importorskip("sklearn", reason="the digits need scikit-learn: isoloss[experiments]")
    return digits()


# ---- data ------------------------------------------------------------------------------------


def test_digits_are_split_into_images_seen_and_held_out(drawn: Images) -> None:
    assert drawn.x.shape == (1400, 64)
    assert drawn.held_out_x.shape == (397, 64)
    assert float(drawn.x.min()) == 0.0
    assert float(drawn.x.max()) == 1.0
    assert sorted(set(drawn.kind.tolist())) == list(range(10))
    seen = {row.numpy().tobytes() for row in drawn.x}
    assert not seen & {row.numpy().tobytes() for row in drawn.held_out_x}
    assert torch.equal(digits().x, drawn.x)


def test_images_of_another_name_are_refused() -> None:
    with pytest.raises(InputError, match="no images 'cats'; use digits or fashion"):
        load_images("cats")  # type: ignore[arg-type]


def _idx(values: np.ndarray) -> bytes:
    lengths = struct.pack(f">{values.ndim}I", *values.shape)
    return bytes([0, 0, 8, values.ndim]) + lengths + values.tobytes()


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Four small files laid out as Fashion-MNIST's, which then count as those published."""
    rng = np.random.default_rng(3)
    found = {}
    for name, count in zip(module.FASHION_FILES, (7, 7, 3, 3), strict=True):
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = rng.integers(0, 10, count, dtype=np.uint8)
        found[name] = _idx(images if "images" in name else labels)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in found.items()}
    monkeypatch.setattr(module, "FASHION_FILES", hashes)
    return found


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache's folder for them; nothing is installed, and the programs are those of the test."""
    monkeypatch.setenv("ISOLOSS_IMAGES", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "INSTALLED", tmp_path / "installed")
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    return tmp_path / "cache" / "fashion-mnist"


def _deb(path: Path, files: dict[str, bytes]) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:xz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./usr/share/datasets/fashion-mnist/{name}.gz")
            packed = gzip.compress(content)
            member.size = len(packed)
            tar.addfile(member, io.BytesIO(packed))
    parts = b"!<arch>\n"
    for name, content in ((b"debian-binary", b"2.0\n"), (b"data.tar.xz", data.getvalue())):
        size = str(len(content)).encode()
        parts += name.ljust(16) + b" " * 32 + size.ljust(10) + b"`\n" + content
        parts += b"\n" * (len(content) % 2)
    path.write_bytes(parts)


def _apt(folder: Path, package: Path | None) -> None:
    """Programs that answer as apt's do where the package is known, or as they do offline."""
    answer = "dataset-fashion-mnist:\\n  Candidate: 1\\n" if package else ""
    fetch = f"cp {package} dataset-fashion-mnist_1_all.deb" if package else "exit 100"
    for name, script in (("apt-cache", f"printf '{answer}'"), ("apt-get", fetch)):
        path = folder / "programs" / name
        path.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
        path.chmod(0o755)


def _assert_as_published(found: Images, published: dict[str, bytes]) -> None:
    first = published["train-images-idx3-ubyte"]
    expected = np.frombuffer(first, np.uint8, offset=16).reshape(7, 784) / 255.0
    np.testing.assert_allclose(found.x.numpy(), expected, atol=1e-6)
    assert found.kind.tolist() == list(published["train-labels-idx1-ubyte"][8:])
    assert found.held_out_x.shape == (3, 784)
    assert found.held_out_kind.tolist() == list(published["t10k-labels-idx1-ubyte"][8:])


def test_fashion_is_fetched_once_and_kept(
    tmp_path: Path, kept: Path, published: dict[str, bytes]
) -> None:
    _deb(tmp_path / "package.deb", published)
    _apt(tmp_path, tmp_path / "package.deb")
    _assert_as_published(fashion(), published)
    assert sorted(path.name for path in kept.iterdir()) == sorted(published)
    assert [path.name for path in kept.parent.iterdir()] == ["fashion-mnist"]
    _apt(tmp_path, None)
    _assert_as_published(fashion(), published)


def test_the_installed_package_is_read_where_it_lies(
    tmp_path: Path, kept: Path, published: dict[str, bytes]
) -> None:
    _apt(tmp_path, None)
    (tmp_path / "installed").mkdir()
    for name, content in published.items():
        (tmp_path / "installed" / f"{name}.gz").write_bytes(gzip.compress(content))
    _assert_as_published(load_images("fashion"), published)
    assert not kept.exists()


def test_where_it_cannot_be_fetched_one_line_says_what_to_do(
    tmp_path: Path, kept: Path, published: dict[str, bytes]
) -> None:
    _apt(tmp_path, None)
    with pytest.raises(InputError, match=r"put the dataset's four files into .*digits$") as caught:
        fashion()
    assert "\n" not in str(caught.value)
    assert not kept.exists()


def test_other_content_than_published_is_refused(
    tmp_path: Path, kept: Path, published: dict[str, bytes]
) -> None:
    name = "train-images-idx3-ubyte"
    damaged = {**published, name: published[name][:-1] + b"\0"}
    if damaged[name] == published[name]:
        damaged[name] = published[name][:-1] + b"\1"
    _deb(tmp_path / "package.deb", damaged)
    _apt(tmp_path, tmp_path / "package.deb")
    with pytest.raises(InputError, match=f"{name} is not Fashion-MNIST as published"):
        fashion()
    lacking = {key: content for key, content in published.items() if key != name}
    _deb(tmp_path / "package.deb", lacking)
    with pytest.raises(InputError, match=f"lacks {name}"):
        fashion()
    (tmp_path / "package.deb").write_bytes(b"no package")
    with pytest.raises(InputError, match="is no Debian package"):
        fashion()


def test_a_damaged_file_in_the_cache_is_named(
    tmp_path: Path, kept: Path, published: dict[str, bytes]
) -> None:
    _deb(tmp_path / "package.deb", published)
    _apt(tmp_path, tmp_path / "package.deb")
    fashion()
    path = kept / "t10k-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"t10k-labels-idx1-ubyte.* remove it"):
        fashion()
    path.unlink()
    path.with_name(f"{path.name}.gz").write_bytes(b"\x1f\x8b torn")
    with pytest.raises(InputError, match=r"t10k-labels-idx1-ubyte\.gz cannot be read"):
        fashion()


# ---- tasks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TASKS)
def test_a_batch_has_the_mean_gradient_of_its_examples(name: str, drawn: Images) -> None:
    task = TASKS[name](drawn)
    learner = Learner(task, seed=1)
    examples = learner.draw(6)
    assert task.losses(learner.model, examples).shape == (6,)
    whole = learner.gradient(examples)
    alone = [learner.gradient(tuple(t[i : i + 1] for t in examples)) for i in range(6)]
    for index, gradient in enumerate(whole):
        mean = torch.stack([one[index] for one in alone]).mean(dim=0)
        torch.testing.assert_close(gradient, mean, rtol=1e-4, atol=1e-5)
    assert any(float(one.abs().max()) > 1e-4 for one in whole)


@pytest.mark.parametrize("name", TASKS)
def test_the_same_seed_draws_the_same_examples_and_another_seed_others(
    name: str, drawn: Images
) -> None:
    task = TASKS[name](drawn)
    first, again, other = (Learner(task, seed=seed).draw(5) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])


def test_the_baselines_are_those_of_answers_without_learning(drawn: Images) -> None:
    tasks = {name: make(drawn) for name, make in TASKS.items()}
    kinds = np.array([drawn.kind.tolist().count(kind) for kind in range(10)]) / len(drawn.kind)
    by_kind = -np.log(kinds)[drawn.held_out_kind.numpy()].mean()
    assert math.isclose(tasks["classifier"].baseline, by_kind, rel_tol=1e-5)
    assert abs(tasks["classifier"].baseline - math.log(10)) < 0.02
    held, mean = drawn.held_out_x.numpy(), drawn.x.numpy().mean(axis=0)
    by_mean = 0.5 * ((held - mean) ** 2).sum() / len(held)
    assert math.isclose(tasks["autoencoder"].baseline, by_mean, rel_tol=1e-4)
    share = np.clip((drawn.x.numpy() > 0.5).mean(axis=0), 1e-4, 1 - 1e-4)
    lit = held > 0.5
    by_pixel = -(np.log(share) * lit + np.log(1 - share) * ~lit).sum() / len(held)
    assert math.isclose(tasks["vae"].baseline, by_pixel, rel_tol=1e-4)


def test_the_vae_counts_the_divergence_of_its_code(drawn: Images) -> None:
    """With a code that tells nothing its loss is that of the pixels plus a known divergence."""
    task = TASKS["vae"](drawn)
    model = Learner(task, seed=0).model
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.encoder[-1].bias[0] = 3.0  # the mean of the first number of the code
    expected = 64 * math.log(2) + 0.5 * 3.0**2
    assert math.isclose(task.held_out(model), expected, rel_tol=1e-5)


@pytest.mark.parametrize("name", TASKS)
def test_learning_beats_the_baseline_within_seconds(name: str, drawn: Images) -> None:
    task = TASKS[name](drawn)
    curve = train_curve(
        task, batch=32, rate=task.rate, seed=0, most_steps=600, until=0.5 * task.baseline
    )
    assert not curve.diverged
    assert curve.loss[-1] < 0.93 * task.baseline


# ---- studies ---------------------------------------------------------------------------------


@pytest.mark.parametrize("study", [noise_digits, noise_fashion, noise_autoencoder, noise_vae])
def test_a_plan_names_losses_below_the_baseline_and_reaches_far(study: ModuleType) -> None:
    plan = study.PLAN
    assert plan.noise_batch in plan.scan.batches
    assert plan.scan.batches[-1] >= 256 * plan.scan.batches[0]
    if study is not noise_fashion:
        pytest.importorskip("sklearn", reason="the digits need scikit-learn: isoloss[experiments]")
        assert max(plan.scan.targets) < study.task().baseline


@pytest.mark.full
@pytest.mark.parametrize("study", [noise_digits, noise_autoencoder, noise_vae])
def test_a_study_leaves_its_page(
    study: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("sklearn", reason="the digits need scikit-learn: isoloss[experiments]")
    assert study.main(["--quick", "--folder", str(tmp_path), "--workers", "1"]) == 0
    page = capsys.readouterr().out
    assert page == (tmp_path / "study.md").read_text("utf-8")
    assert f"McCandlish et al., {study.PLAN.paper.domain}" in page
    assert "Not a replication" in page


def test_a_study_without_its_images_ends_with_one_line(
    tmp_path: Path, kept: Path, published: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    _apt(tmp_path, None)
    assert noise_fashion.main(["--folder", str(tmp_path / "study")]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
