"""Hidden pictures in Chromium on a device that trusts our CA."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from harmless_pictures import harmless_picture
from proxy_stand import Stand
from proxy_stand.browser import opened_page
from small_internet.browser import CAN_TRUST
from small_internet.whole import SmallInternet

from hedgerow.features.pictures.scanner import is_installed

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CAN_TRUST, reason="needs Debian's chromium and libnss3-tools"),
    pytest.mark.skipif(not is_installed(), reason="the extra `pictures` is not installed (make pictures)"),
]

SHOW = """url => new Promise(done => {
    const image = new Image();
    image.onload = () => done([image.naturalWidth, image.naturalHeight]);
    image.onerror = () => done("broken");
    image.src = url;
})"""


@pytest.fixture
def as_this_machine(stand: Stand, policy: str) -> Iterator[Stand]:
    """Chromium comes from 127.0.0.1, which is Mia's tablet here."""
    yield stand
    stand.swap(policy=policy)


def test_a_hidden_picture_is_replaced_and_the_other_is_not_kept(
    as_this_machine: Stand, net: SmallInternet, policy: str, tmp_path: Path
) -> None:
    seen = policy.replace("ip: 127.0.0.11", "ip: 127.0.0.1")
    picture = f"/mirror?type=image/jpeg&data={base64.urlsafe_b64encode(harmless_picture()).decode()}"
    as_this_machine.swap(
        policy=seen.replace("    age: 9\n", "    age: 9\n    picture_scan: {enabled: true, limit: 0}\n")
    )
    with opened_page(as_this_machine, tmp_path, as_this_machine.ca) as page:
        page.goto(net.url("www.school.example", "/page"))
        assert page.evaluate(SHOW, net.url("www.school.example", picture)) == [320, 200]
        as_this_machine.swap(policy=seen)
        page.reload()
        assert page.evaluate(SHOW, net.url("www.school.example", picture)) == [160, 120]
