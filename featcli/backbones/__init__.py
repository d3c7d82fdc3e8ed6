"""Pretrained networks as ordered stages, with the weights and the preprocessing that belong together."""
