"""From bytes to what the backbone sees: decoding, preprocessing, augmentation."""
