"""Computing features, and keeping them so that no image is read twice for the same answer."""
