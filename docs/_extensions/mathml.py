"""Formulas as MathML, which browsers show by themselves: no script, no font and no network is needed.

docutils converts them; what it cannot convert is a warning, and so an error of `make docs`.
"""

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)


def visit_inline(self, node: nodes.math) -> None:
    append(self, node, as_block=False)


def visit_block(self, node: nodes.math_block) -> None:
    self.body.append('<div class="math">')
    append(self, node, as_block=True)
    self.body.append("</div>\n")
    raise nodes.SkipNode


def append(self, node: nodes.Element, *, as_block: bool) -> None:
    try:
        self.body.append(tex2mathml(node.astext(), as_block=as_block))
    except MathError as error:
        logger.warning("formula: %s: %s", error, node.astext(), location=node)
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    app.config.html_math_renderer = "mathml"
    return {"parallel_read_safe": True, "parallel_write_safe": True}
