"""Studies at the scale of the paper, on files of the original formats that are made here."""

import gzip
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from batchscope.errors import InvalidInput
from batchscope.optimizers import SGD
from batchscope.replications import minima, spelling
from batchscope.replications.lab import Lab
from batchscope.replications.reproducing import Replication, list_studies, reproduce
from batchscope.replications.studies import distance, image, imaging, lora, lr_scaling, speech
from batchscope.training.check import check_task

from .labs import make_lab
from .language_models import write_model, write_texts
from .voices import write_voices

CPU = torch.device("cpu")


def lab_of(folder: Path, *, limit: int | None = None, is_control: bool = False) -> Lab:
    lab = make_lab(folder, is_quick=False, count=1, is_control=is_control)
    return replace(lab, data=folder, limit=limit)


def reproduce_paper(name: str, data: Path) -> Replication:
    """With one seed, which tells nothing."""
    store = str(data / "runs.db")
    found = reproduce(name, scale="paper", data=str(data), seeds=1, store=store)
    assert {one.verdict for one in found.judged} == {"cannot tell"}
    return found


def write_records(folder: Path, people: int) -> None:
    """Codes of which one is of each sex alone, and the others of everybody."""
    rng = np.random.default_rng(0)
    events, sexes = ["id,ICD_CODE,ICD_TYPE,AgeAtICD"], ["id,sex"]
    for person in range(people):
        sex = person % 2
        sexes.append(f"p{person},{'FM'[sex]}")
        codes = [code for code in range(10) if rng.random() < 0.3] + [10 + sex]
        events += [f"p{person},{code:03d}.0,9,50" for code in codes]
    mapped = [f"{code:03d}.0,9,{code}" for code in range(12)]
    (folder / "events.csv").write_text("\n".join(events))
    (folder / "people.csv").write_text("\n".join(sexes))
    (folder / "phecodes.csv").write_text("\n".join(["ICD,ICD_TYPE,PheCode", *mapped]))


@pytest.mark.slow
def test_health_records_go_through_the_whole_study(tmp_path: Path) -> None:
    write_records(tmp_path, 160)

    found = reproduce_paper("ehr", tmp_path)

    assert found.to_dict()["data"] == found.data
    assert found.data.startswith("The original data: events.csv")
    assert f"--scale paper --seeds 1 --data {tmp_path}" in found.command
    # A code is locked to each sex: a linear machine reads it from the codes.
    assert found.measured.notes[0].startswith("Sex is misread from the raw codes of 0.0%")


def test_too_few_people_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    write_records(tmp_path, 40)

    with pytest.raises(InvalidInput) as caught:
        reproduce("ehr", scale="paper", data=str(tmp_path), store=str(tmp_path / "runs.db"))
    assert "40 people 7 validate" in " ".join(map(str, caught.value.args))


def write_cifar(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for name in (*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin"):
        labels = rng.integers(0, 10, (8, 1), dtype=np.uint8)
        pixels = rng.integers(0, 256, (8, 3072), dtype=np.uint8)
        (folder / name).write_bytes(np.concatenate([labels, pixels], 1).tobytes())


def test_cifar_trains_the_image_net(tmp_path: Path) -> None:
    write_cifar(tmp_path)

    task = image.make_task(lab_of(tmp_path))

    sizes = {part: len(data) for part, data in task.datasets.items()}
    assert sizes == {"train": 36, "val": 4, "test": 8}
    check_task(task, precision="float32", device=CPU)


def test_cifar_trains_the_net_whose_rates_are_compared(tmp_path: Path) -> None:
    write_cifar(tmp_path)

    material = lr_scaling.read_material(lab_of(tmp_path))

    assert (len(material.train[1]), len(material.test[1])) == (40, 8)
    check_task(distance.make_task(material), precision="float32", device=CPU)


def write_mnist(folder: Path, images: int = 30) -> None:
    rng = np.random.default_rng(0)
    for part, count in (("train", images), ("t10k", 10)):
        pixels = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8).tobytes()
        head = struct.pack(">4I", 0x803, count, 28, 28)
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(head + pixels))
        labels = bytes(place % 10 for place in range(count))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(
            struct.pack(">2I", 0x801, count) + labels
        )


def test_mnist_trains_the_net_whose_distance_is_measured(tmp_path: Path) -> None:
    write_mnist(tmp_path)

    material = distance.read_material(lab_of(tmp_path, limit=20))

    assert material.name == "mnist-distance"
    check_task(distance.make_task(material), precision="float32", device=CPU)


@pytest.mark.parametrize("is_ridge", [False, True])
def test_mnist_trains_the_nets_whose_minima_are_measured(tmp_path: Path, is_ridge: bool) -> None:
    write_mnist(tmp_path, 2600)

    material = minima.read_material(lab_of(tmp_path))

    assert (material.small, material.large) == (256, 260)
    task = minima.make_task(material, SGD(lr=0.1), is_ridge=is_ridge)
    check_task(task, precision="float32", device=CPU)


def test_too_few_images_for_the_large_batch_are_refused(tmp_path: Path) -> None:
    write_mnist(tmp_path)

    with pytest.raises(InvalidInput) as caught:
        minima.read_material(lab_of(tmp_path))
    assert "a tenth of 30 images is not above 256" in " ".join(map(str, caught.value.args))


def test_cats_and_dogs_train_a_convolutional_one(tmp_path: Path) -> None:
    pictures: Any = pytest.importorskip("PIL.Image")
    for name in ("Cat", "Dog"):
        (tmp_path / "PetImages" / name).mkdir(parents=True)
        for place in range(10):
            picture = pictures.new("RGB", (40, 30), (20 * place, 0, 0))
            picture.save(tmp_path / "PetImages" / name / f"{place}.jpg")
    (tmp_path / "PetImages" / "Cat" / "broken.jpg").write_bytes(b"")

    material = distance.read_material(lab_of(tmp_path))

    assert (len(material.train[1]), len(material.test[1])) == (16, 4)
    assert "an empty file" in material.notes[0]
    check_task(distance.make_task(material), precision="float32", device=CPU)


def write_scans(folder: Path, people: int) -> None:
    nibabel: Any = pytest.importorskip("nibabel")
    for number in range(people):
        person = folder / f"p{number:03d}"
        person.mkdir()
        scan, outline = np.zeros((16, 16, 16), "f4"), np.zeros((16, 16, 16), "f4")
        scan[2:14, 2:14, 2:14] = 1
        outline[3 + number % 9, 6:9, 6:9] = 1
        for kind, voxels in (("flair", scan + outline), ("seg", outline)):
            nibabel.Nifti1Image(voxels, np.eye(4)).to_filename(
                person / f"{person.name}_{kind}.nii.gz"
            )


def test_brain_scans_train_the_autoencoder_of_volumes(tmp_path: Path) -> None:
    write_scans(tmp_path, 74)

    material = imaging.read_material(lab_of(tmp_path))
    control = imaging.read_material(lab_of(tmp_path, is_control=True))

    assert (material.kept, len(material.sides)) == (54, 74)
    assert sorted(control.sides.tolist()) == sorted(material.sides.tolist())
    assert not torch.equal(control.sides, material.sides)
    check_task(imaging.make_task(material), precision="float32", device=CPU)


def test_too_few_scans_are_refused(tmp_path: Path) -> None:
    write_scans(tmp_path, 30)

    with pytest.raises(InvalidInput) as caught:
        imaging.read_material(lab_of(tmp_path))
    assert "8 validate" in " ".join(map(str, caught.value.args))


@pytest.mark.slow
def test_recordings_go_through_the_whole_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("soundfile", "transformers", "rapidfuzz"):
        pytest.importorskip(module)
    write_voices(tmp_path)
    # As many sizes as the study has, a few steps of each, two of them in one study.
    steps = {4: 12, 8: 6, 16: 6, 32: 6, 64: 6, 256: 6}
    monkeypatch.setattr(speech, "_ALL", steps)
    monkeypatch.setattr(speech, "_CHECKPOINT", "2steps")
    monkeypatch.setattr(spelling, "_ROUNDS", 5)

    found = reproduce_paper("speech", tmp_path)

    assert found.data.startswith("The original data: LibriSpeech")
    assert "of the letters from the frames themselves" in found.measured.notes[0]
    figure = found.measured.figures[0]
    assert figure.title == "Misread letters against utterances seen, first seed"
    assert len(figure.lines) == 6
    assert all(0 < value < 1 for line in figure.lines for value in line.values)


@pytest.mark.slow
def test_a_model_from_elsewhere_goes_through_the_whole_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers")
    write_model(tmp_path / "model")
    write_texts(tmp_path / "texts", 680 * 17)
    # Fewer sizes and rates than the study has.
    monkeypatch.setattr(lora, "_ALL", (16, 256))
    monkeypatch.setattr(lora, "_BUDGET", "1ep")
    monkeypatch.setattr(lora, "_MOST_RATES", 3)

    found = reproduce_paper("lora", tmp_path)

    assert found.data.startswith("The original data: a causal language model")
    figure = found.measured.figures[0]
    assert figure.y == "nats per token"
    told = [
        note for note in found.measured.notes if note.startswith("Trained on 544 windows of 16")
    ]
    assert len(told) == 1
    # One epoch: sixteen times the updates bring every way of tuning further.
    assert [line.name for line in figure.lines] == ["full", "LoRA, rank 1", "LoRA, rank 8"]
    assert all(line.values[0] < line.values[1] for line in figure.lines)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scale": "paper"}, "not named"),
        ({"scale": "paper", "data": "none"}, "is no folder"),
        ({"scale": "paper", "data": ".", "limit": 0}, "a limit of 0"),
        ({"data": "."}, "reads no data"),
        ({"limit": 5}, "reads no data"),
    ],
)
def test_data_belong_to_the_scale_of_the_paper(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        reproduce("image", store=str(tmp_path / "runs.db"), **changes)
    assert said in " ".join(map(str, caught.value.args))


def test_a_study_whose_data_are_generated_has_no_such_scale(tmp_path: Path) -> None:
    without = [study.name for study in list_studies() if study.paper is None]

    assert "blobs" in without
    with pytest.raises(InvalidInput) as caught:
        reproduce("blobs", scale="paper", data=".", store=str(tmp_path / "runs.db"))
    assert "no scale of the paper" in " ".join(map(str, caught.value.args))
