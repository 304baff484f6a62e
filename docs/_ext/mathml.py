"""Formulas as MathML, which browsers show without scripts, and so without the internet."""

import re

from docutils.nodes import SkipNode
from latex2mathml.converter import convert

# A function's name and its argument stand apart, unless that is in brackets.
_NAMES = re.compile(r"<m[io]>(log|exp|max|min|tr)</m[io]>(?!<mo stretchy)")
_SPACED = r'<mo form="prefix" lspace="0.17em" rspace="0.17em">\1</mo>'


def _mathml(node, **options):
    return _NAMES.sub(_SPACED, convert(node.astext(), **options))


def _inline(translator, node):
    translator.body.append(_mathml(node))
    raise SkipNode


def _block(translator, node):
    mathml = _mathml(node, display="block")
    translator.body.append(f'<div class="math-block">{mathml}</div>\n')
    raise SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
