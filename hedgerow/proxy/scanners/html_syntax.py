"""Tags of HTML as regular expressions, by the tokenizer of the HTML standard (section 13.2.5). Pure.

A `>` within quotes does not end a tag, and white space is what HTML calls so. All work is linear: what was matched once
is not tried in another way.
"""

from __future__ import annotations

import re

WHITE = r"\t\n\f\r "
"""White space of HTML, for a class of characters."""

_VALUE = rf"=[{WHITE}]*+(?:\"[^\"]*+\"|'[^']*+'|[^{WHITE}>\"'][^{WHITE}>]*+|(?=>))"
_ATTRIBUTE = rf"[^{WHITE}/>=][^{WHITE}/>=]*+(?:[{WHITE}]*+{_VALUE})?+"
# most attributes have this form, which is read faster
_USUAL = rf"(?:[{WHITE}]++[^{WHITE}/>=\"']++=\"[^\"]*+\")*+"
ATTRIBUTES = rf"{_USUAL}(?:[{WHITE}/]++|{_ATTRIBUTE})*+"

TAG = rf"[a-zA-Z][^{WHITE}/>]*+{ATTRIBUTES}>"
"""A whole tag behind its `<` or `</`."""

WHOLE_TAG = re.compile(rf"<(/?)([a-zA-Z][^{WHITE}/>]*+)({ATTRIBUTES})>")
TAG_START = re.compile(rf"<(/?)([a-zA-Z][^{WHITE}/>]*+)")
REST_OF_TAG = re.compile(rf"{ATTRIBUTES}>")
WHOLE_ATTRIBUTES = re.compile(rf"(?:[{WHITE}/]++|{_ATTRIBUTE}(?!\Z))*+")
OPEN_VALUE = re.compile(rf"[^{WHITE}/>=]*+[{WHITE}]*+=[{WHITE}]*+([\"'])")

# A name is tried once, from its first character, as the work would be quadratic in its length.
_FIELD = re.compile(
    rf"(?<![^{WHITE}/>=\"'])([^{WHITE}/>=]++)[{WHITE}]*+=[{WHITE}]*+(?:\"([^\"]*+)\"|'([^']*+)'|([^{WHITE}>\"'][^{WHITE}>]*+))"
)
# These do not separate words: `<b>p</b>age` is one word. Links and spans often have no space between them, so they do.
_INLINE = "[bB](?ai:ig)?|[eE][mM]|[fF](?ai:ont)|[iIuU]|[mM](?ai:ark)|[sS](?ai:mall|trong|u[bp])?|[tT][tT]|[wW](?ai:br)"
_INLINE_TAG = re.compile(rf"</?(?:{_INLINE})(?=[{WHITE}/>]){ATTRIBUTES}>")
_TAG = re.compile(rf"</?{TAG}")
_NESTED = re.compile("<[a-zA-Z/][^<>]*+<")  # what looks like a tag may be within the quotes of another
_ANY_TAG = re.compile(rf"</?(?:{_INLINE})(?=[{WHITE}/>]){ATTRIBUTES}>|(<)/?{TAG}")


def strip_tags(text: str) -> str:
    """Return HTML with a `<` for each tag that separates words, and nothing for the others.

    >>> strip_tags("<p>one<b>two</b><a title='>'>"), strip_tags("<a title='<b>'>one<b>two")
    ('<onetwo<', '<onetwo')
    """
    if "<" not in text:
        return text
    if _NESTED.search(text) is not None:
        return _ANY_TAG.sub(r"\1", text)
    return _TAG.sub("<", _INLINE_TAG.sub("", text))


def parse_attributes(tag: str) -> dict[str, str]:
    """Return the values of a tag's attributes by their names in lower case. The first of a name counts.

    >>> parse_attributes(" A=1 b='2' a=3")
    {'a': '1', 'b': '2'}
    """
    return {name.lower(): "".join(values) for name, *values in reversed(_FIELD.findall(tag))}
