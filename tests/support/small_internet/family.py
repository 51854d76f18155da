"""The family that end-to-end tests are about: two children and a computer that trusts the CA, told apart by loopback
addresses.
"""

from __future__ import annotations

import socket

from small_internet.running import Hedgerow, network_section
from small_internet.whole import SmallInternet

TABLET = "127.0.0.2"
"""Mia's, who is nine."""
LAPTOP = "127.0.0.3"
"""Tom's, who is seventeen."""
COMPUTER = "127.0.0.4"
"""Mia's too; it trusts the CA."""
STRANGER = "127.0.0.9"
"""In the network, and named nowhere."""
OUTSIDER = "127.0.5.5"
"""Not in the network."""

PEOPLE = """
people:
  mia:
    age: 9
    devices: [mia-tablet, mia-computer]
    block: [news.example, "www.school.example/secret"]
  tom:
    age: 17
    devices: [tom-laptop]
devices:
  mia-tablet: {ip: 127.0.0.2}
  tom-laptop: {ip: 127.0.0.3}
  mia-computer: {ip: 127.0.0.4, trusts_ca: true}
"""

OWN_LISTS = """
lists:
  - {category: adult, path: lists/adult.txt}
  - {category: gambling, path: lists/gambling.hosts}
  - {category: social, path: lists/social.adblock}
"""

LISTS = {
    "lists/adult.txt": "# plain\nnothing-else.example\nadult.example\n",
    "lists/gambling.hosts": "0.0.0.0 gambling.example www.gambling.example # hosts\n",
    "lists/social.adblock": "[Adblock Plus]\n! adblock\n||chat.example^\n",
}


def family_policy(internet: SmallInternet, *, people: str = PEOPLE, lists: str = OWN_LISTS) -> str:
    """The whole policy file."""
    return network_section(internet, lan=("127.0.0.0/24", "::1/128")) + "  country: GB\n" + people + lists


def say(running: Hedgerow, head: bytes, *, source: str = TABLET, seconds: float = 10.0) -> bytes:
    """Sends bytes to the proxy and returns all it answers until it closes; raises TimeoutError after `seconds` of
    silence.
    """
    answer = b""
    with socket.create_connection(running.proxy, timeout=seconds, source_address=(source, 0)) as sock:
        sock.sendall(head)
        try:
            while piece := sock.recv(65536):
                answer += piece
        except ConnectionResetError:
            pass
    return answer
