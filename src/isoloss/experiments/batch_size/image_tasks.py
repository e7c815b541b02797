"""Three things to learn of the same images: what they show, a short code, and their density.

    classifier    -ln p(kind | x)                     nats per image
    autoencoder   |x - x'|^2 / 2                      x' through a narrow code; the negative log
                                                      likelihood at unit variance, constant left out
    vae           -ln p(x | z) + KL(q(z | x) | p(z))  nats per image in black and white, z drawn

Images are drawn with replacement from those to train on, so batches of any size are independent
draws; the loss that targets are named in is of images held out. All learn by plain SGD.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from isoloss.experiments.batch_size.images import Images
from isoloss.lab.batch_size.task import Draw, Examples, Task, drawn_from

KINDS = 10
_HELD_OUT_SEED = 20_181_214
_HELD_OUT_DRAWS = 4
_LEAST_SHARE = 1e-4


def classifier(images: Images, *, hidden: int, rate: float, rate_batch: int) -> Task:
    """Telling the ten kinds apart, by a perceptron with one hidden layer.

    hidden: its width. rate: a good one at a batch of `rate_batch` images. The baseline gives every
    image the shares of the kinds in training.
    """
    share = torch.bincount(images.kind, minlength=KINDS) / len(images.kind)

    def losses(model: nn.Module, examples: Examples) -> Tensor:
        x, kind = examples
        return F.cross_entropy(model(x), kind, reduction="none")

    return Task(
        name=f"{images.name}, classifier",
        unit="images",
        model=lambda: _perceptron(images.x.shape[1], hidden, KINDS),
        stream=drawn_from(images.x, images.kind),
        losses=losses,
        held_out=_mean_of(losses, (images.held_out_x, images.held_out_kind)),
        baseline=float(-share.log()[images.held_out_kind].mean()),
        trivial="the share of each kind",
        rate=rate,
        rate_batch=rate_batch,
        data=images.hash,
    )


def autoencoder(images: Images, *, hidden: int, code: int, rate: float, rate_batch: int) -> Task:
    """Coding an image into `code` numbers and back. The baseline is the mean image for all."""
    pixels = images.x.shape[1]

    def losses(model: nn.Module, examples: Examples) -> Tensor:
        (x,) = examples
        seen: Tensor = model(x)
        return 0.5 * (seen - x).square().sum(dim=1)

    held = images.held_out_x
    return Task(
        name=f"{images.name}, autoencoder",
        unit="images",
        model=lambda: nn.Sequential(
            _perceptron(pixels, hidden, code),
            _perceptron(code, hidden, pixels),
        ),
        stream=drawn_from(images.x),
        losses=losses,
        held_out=_mean_of(losses, (held,)),
        baseline=float(0.5 * (held - images.x.mean(dim=0)).square().sum(dim=1).mean()),
        trivial="the mean image",
        rate=rate,
        rate_batch=rate_batch,
        data=images.hash,
    )


def vae(images: Images, *, hidden: int, code: int, rate: float, rate_batch: int) -> Task:
    """A variational autoencoder of the images in black and white (a pixel is lit above one half).

    An example is an image and a draw of the code's noise, so that the noise of the gradient is of
    both; held-out noise is drawn once. The baseline has every pixel lit by its own share.
    """
    lit, held = (images.x > 0.5).float(), (images.held_out_x > 0.5).float()
    share = lit.mean(dim=0).clamp(_LEAST_SHARE, 1 - _LEAST_SHARE)

    def stream(_: nn.Module, seed: int) -> Draw:
        rows = drawn_from(lit)(_, seed)
        random = torch.Generator().manual_seed(seed + 1)

        def draw(count: int) -> Examples:
            return (*rows(count), torch.randn(count, code, generator=random))

        return draw

    def losses(model: nn.Module, examples: Examples) -> Tensor:
        x, noise = examples
        seen: Tensor
        divergence: Tensor
        seen, divergence = model(x, noise)
        missed = F.binary_cross_entropy_with_logits(seen, x, reduction="none").sum(dim=1)
        return missed + divergence

    again = held.repeat(_HELD_OUT_DRAWS, 1)
    random = torch.Generator().manual_seed(_HELD_OUT_SEED)
    noise = torch.randn(len(again), code, generator=random)
    alone = F.binary_cross_entropy(share.expand_as(held), held, reduction="none").sum(dim=1)
    return Task(
        name=f"{images.name}, VAE",
        unit="images",
        model=lambda: _Variational(images.x.shape[1], hidden, code),
        stream=stream,
        losses=losses,
        held_out=_mean_of(losses, (again, noise)),
        baseline=float(alone.mean()),
        trivial="every pixel by itself",
        rate=rate,
        rate_batch=rate_batch,
        data=images.hash,
    )


class _Variational(nn.Module):
    """Codes q(z | x) = N(mean, exp(log_variance)), and p(x | z) of independent pixels."""

    def __init__(self, pixels: int, hidden: int, code: int) -> None:
        super().__init__()
        self.encoder = _perceptron(pixels, hidden, 2 * code)
        self.decoder = _perceptron(code, hidden, pixels)

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the pixels, and the divergence of the code from N(0, 1), (examples,)."""
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        divergence = 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).sum(dim=1)
        return self.decoder(mean + (0.5 * log_variance).exp() * noise), divergence


def _perceptron(inputs: int, hidden: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, outputs))


def _mean_of(
    losses: Callable[[nn.Module, Examples], Tensor], held_out: Examples
) -> Callable[[nn.Module], float]:
    @torch.no_grad()
    def mean(model: nn.Module) -> float:
        return float(losses(model, held_out).mean())

    return mean
