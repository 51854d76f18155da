"""Messages that no language may lack: those of the block page, the child's own page and the guide."""

import pytest
from catalogues import TRANSLATED, messages, missing, updated

from hedgerow.policies.text.locales import LANGUAGES


@pytest.mark.parametrize("code", TRANSLATED)
def test_every_language_has_the_block_page_the_childs_page_and_the_guide(code):
    assert missing(updated(code), messages(required_only=True)) == []
    assert LANGUAGES[code] != code, "it has its own name"
