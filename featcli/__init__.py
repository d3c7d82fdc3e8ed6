"""featcli: from a folder of images to a classifier that its owner can trust."""

__version__ = "0.1.0"
