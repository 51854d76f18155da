"""The key `picture_scan` of the rules of every scope."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StrictInt

from hedgerow.policies.content import NO_SCORE_LIMIT
from hedgerow.policies.reading.feature_keys import ScoreKey
from hedgerow.policies.reading.schema_types import RawModel, Switch, managed


class RawPictureScan(RawModel):
    """Judgement of pictures: `enabled` on inspected devices, and the `limit` of the score above which one is hidden."""

    enabled: Switch | None = managed(
        None, description="Judge pictures on inspected devices; needs the extra `hedgerow[pictures]`."
    )
    limit: Annotated[StrictInt, Field(ge=0, le=NO_SCORE_LIMIT)] | None = managed(
        None,
        description="Score, 0 to 100, above which a picture is hidden; 100 for never. The profiles have one by age.",
    )


PICTURE_SCAN = ScoreKey(
    name="picture_scan",
    kind=RawPictureScan,
    description="Hide pictures that look explicit, on inspected devices: `on`, `off` or a mapping.",
    title="score above which pictures are hidden, if that is on",
    profiles={
        "child-under-8": 40,
        "child-8-12": 50,
        "teen-13-15": 60,
        "teen-16-17": 80,
        "adult": NO_SCORE_LIMIT,
        "seat-child": 50,
        "seat-adult": NO_SCORE_LIMIT,
        "guest": 80,
    },
)
