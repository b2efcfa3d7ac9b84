"""chutes/image — an image as an author writes it down. Builds none: the deploy names the image that is used."""

from chutes.image.image import Image

__all__ = ["Image"]
