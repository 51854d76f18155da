"""`hedgerow setup`: the addresses of the pages, with a QR code for a phone, and the setup code until the first password
is set.
"""

from __future__ import annotations

import io
import sys
from ipaddress import ip_address
from urllib.parse import urlsplit

import segno

from hedgerow.app.commands.options import JsonOption, StateOption, call_api, print_json, state_directory
from hedgerow.app.settings import Settings


def setup(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show the addresses of the web pages and, until the first password is set, the setup code."""
    found = call_api(state, "GET", "/setup")
    here = f"http://{Settings.load(state_directory(state)).web.from_here}"
    facts = {"here": here, "url": found["url"], "code": found["code"]}
    if as_json:
        print_json(facts)
        return
    print(*welcome_lines(**facts), sep="\n")
    if sys.stdout.isatty() and is_reachable(found["url"]):
        print(terminal_qr(page_url(found["url"], found["code"])), end="")


def terminal_qr(text: str) -> str:
    r"""Return a QR code for a terminal. It states its colours: in those of a bright terminal it would be inverted.

    >>> print(ascii(terminal_qr("x").splitlines()[0][:12]))
    '\x1b[97;40m\u2588\u2588\u2588\u2588'
    """
    out = io.StringIO()
    segno.make(text, error="l", micro=False).terminal(out, border=2, compact=True)
    return "".join(f"\x1b[97;40m{line}\x1b[0m\n" for line in out.getvalue().splitlines())


def welcome_lines(here: str, url: str, code: str) -> list[str]:
    """The addresses for a browser on this machine and for a phone, and the setup code, if there is one.

    >>> welcome_lines("http://127.0.0.1:8053", "http://192.168.1.2:8053", "ABCD-EFGH")[0]
    'on this machine:  http://127.0.0.1:8053/start#ABCD-EFGH'
    """
    lines = [f"on this machine:  {page_url(here, code)}"]
    if is_reachable(url):
        lines.append(f"on a phone:       {page_url(url, code)}")
    if code:
        lines.append(f"setup code:       {code}  (until the first password is set)")
    return lines


def page_url(url: str, code: str) -> str:
    """The address to open.

    The code follows `#`: browsers send that part to no server, and the page takes it out of the address.
    """
    return f"{url}/start#{code}" if code else f"{url}/"


def is_reachable(url: str) -> bool:
    """True if other devices can open the address."""
    return not ip_address(urlsplit(url).hostname or "127.0.0.1").is_loopback
