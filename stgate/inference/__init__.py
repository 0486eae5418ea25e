"""Inference: how weights become distributions, and what several of them predict together."""

from stgate.inference.mixture import Mixture

__all__ = ["Mixture"]
