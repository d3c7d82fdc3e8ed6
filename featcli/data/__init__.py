"""From files to pixels: decoding, preprocessing, folders, splits, parallel loading."""
