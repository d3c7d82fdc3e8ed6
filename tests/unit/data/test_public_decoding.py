from featcli.data import images
from featcli.data.pixels import decoding
from featcli.data.readers import reader


def test_decoding_under_its_public_name() -> None:
    assert images.decode_rgb is decoding.decode_rgb
    assert images.UnreadableImage is reader.UnreadableImage
