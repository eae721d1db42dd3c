"""Signatures say `AnyPredictions`, as the source does, in place of the union that it stands for."""

from typing import Any

from sphinx.application import Sphinx
from sphinx.util.typing import stringify_annotation

from alkbald.acquisition import AnyPredictions

UNION = stringify_annotation(AnyPredictions, "smart")


def name_alias(
    app: Sphinx, what: str, name: str, documented: object, options: Any, signature: str | None, result: str | None
) -> tuple[str | None, str | None]:
    return signature and signature.replace(UNION, "AnyPredictions"), result


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-signature", name_alias)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
