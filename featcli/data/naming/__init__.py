"""Which images there are, by name: folders, manifests, what is left out."""
