"""Libraries that come with an extra: imported when they are needed, and missed in a sentence."""

from __future__ import annotations

from typing import Any

from featcli.errors import EnvironmentFault


def import_pyarrow() -> tuple[Any, Any]:
    """Pyarrow and pyarrow.parquet.

    Raises:
        EnvironmentFault: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise EnvironmentFault("Parquet needs pyarrow", "Install it: pip install 'featcli[parquet]'") from error
    return pyarrow, pyarrow.parquet


def find_umap() -> Any | None:
    """The module umap (umap-learn), where it is installed; nothing asks for it."""
    try:
        import umap
    except ImportError:
        return None
    return umap


ONNX_INSTALL = "Install it: pip install 'featcli[onnx]'"


def import_onnxruntime() -> Any:
    """The module onnxruntime.

    Raises:
        EnvironmentFault: it is not installed, or is broken.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise EnvironmentFault("an ONNX file needs onnxruntime", ONNX_INSTALL) from error
    return onnxruntime
