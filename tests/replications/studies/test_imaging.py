import torch

from batchscope.replications.studies.imaging import Autoencoder, generate_slices, miss_side

HELD = slice(800, None)


def test_pixels_tell_the_side_of_a_lesion_and_of_none_nothing() -> None:
    told = {}
    for amplitude in (0.3, 0.0):
        images, sides = generate_slices(amplitude=amplitude)
        told[amplitude] = 1 - miss_side(images[HELD].flatten(1).numpy(), sides[HELD].numpy())

    assert told[0.3] > 0.3
    # R2 of nothing, predicted in folds, is about 0.
    assert told[0.0] < 0.05


def test_an_untrained_network_tells_little_of_the_side() -> None:
    images, sides = generate_slices()
    told = []
    for seed in range(3):
        torch.manual_seed(seed)
        with torch.no_grad():
            latents = Autoencoder().encode(images[HELD]).numpy()
        told.append(1 - miss_side(latents, sides[HELD].numpy()))

    assert sum(told) / len(told) < 0.2


def test_slices_are_images_of_one_scale() -> None:
    images, sides = generate_slices()

    assert images.shape == (1100, 1, 32, 32)
    assert 0 <= float(images.min()) <= float(images.max()) <= 1
    assert set(sides.tolist()) == {-1.0, 1.0}
