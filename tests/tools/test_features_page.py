"""The page of features."""

from __future__ import annotations

import features_page

from hedgerow.features import FEATURES


def test_the_page_says_what_the_contract_says() -> None:
    """To update: `python tools/features_page.py`."""
    assert features_page.PAGE.read_text(encoding="utf-8") == features_page.page()


def test_a_cell_is_empty_for_what_a_feature_does_not_have() -> None:
    rows = {feature.name: [cell(feature) for cell in features_page.COLUMNS.values()] for feature in FEATURES}
    assert len({len(row) for row in rows.values()}) == 1
    assert any(not cell for row in rows.values() for cell in row)
