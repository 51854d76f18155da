"""The pages of the sites with a version and a report, for tests that look at all pages."""

from __future__ import annotations

from web_server import NOW, Web

from hedgerow.features.organisation.levels import ORGANISATION, OrganisationStore, SiteState
from hedgerow.journal.policy_history import MAIN_FILE, PolicyVersion

BASE = "# For all sites.\nnetwork: {timezone: Europe/Lisbon}\n"
PAGES = ("/organisation", "/organisation/edit", "/organisation/search", "/organisation/versions/1")


def fill(web: Web) -> None:
    organisation = OrganisationStore(web.engine)
    version = PolicyVersion(0, NOW, "Ana", "Spring", "office", 0, {MAIN_FILE: BASE}, ("cafe-1",))
    organisation.of_level(ORGANISATION).add(version)
    blocked = {"adult": 31, "gambling": 4}
    problems = ("some workers are not running",)
    state = SiteState("0", "", {"group": 3}, 9, {"adult": "starter"}, 20, 7, problems, blocked)
    organisation.report("node", NOW - 20, state)
    organisation.assign("cafe-9", "north")


def fill_with(web: Web, text: str) -> None:
    """Publish a version of which every text is the same."""
    published = PolicyVersion(0, NOW, text, text, text, 0, {MAIN_FILE: text}, (text,))
    OrganisationStore(web.engine).of_level(ORGANISATION).add(published)
