"""Sign-in at an OpenID Connect provider: the authorization code flow with PKCE.

Sources: OpenID Connect Core 1.0, section 3.1; OpenID Connect Discovery 1.0, section 4; RFC 7636; RFC 9207. What a
sign-in needs until the browser comes back travels in a cookie of that browser, so that it may come back to another
machine of the same home.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import secrets
import ssl
import time
import warnings
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from copy import copy
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urlsplit

import httpx
from authlib.deprecate import AuthlibDeprecationWarning
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from hedgerow import __version__
from hedgerow.blocklists.outgoing import ONE_REQUEST, pinned, proxy_for
from hedgerow.blocklists.outgoing_guard import OutgoingGuard
from hedgerow.dashboards.accounts import ExternalIdentity
from hedgerow.dashboards.passwords import SignInRefused
from hedgerow.dashboards.words.languages import message
from hedgerow.features.openid.settings import OpenIdProvider

with warnings.catch_warnings():
    warnings.simplefilter("ignore", AuthlibDeprecationWarning)  # it prefers httpx's successor, where that is installed
    from authlib.integrations.base_client import OAuthError
    from authlib.integrations.httpx_client import AsyncOAuth2Client

log = logging.getLogger("hedgerow.web")

_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
_MAX_OCTETS = 256 * 1024
_TIMEOUT_S, _LEEWAY_S = 15.0, 60
_KEEP_S, _ASK_AGAIN_S = 3600.0, 30.0
_MAX_AT_ONCE = 8
_MAX_GROUPS = 1000


@dataclass(frozen=True, slots=True)
class PendingSignIn:
    """A sign-in that was begun: the provider's page, and the browser's cookie, with secrets of 256 random bits each."""

    url: str
    cookie: str


@dataclass(frozen=True, slots=True)
class _Metadata:
    """The provider's endpoints, keys and scopes, as they were at `read_at`, and the authorities of its certificate.

    `guard` is that of its own host: its endpoints may be as far inside as itself.
    """

    provider: OpenIdProvider
    authorization: str
    token: str
    userinfo: str
    keys: KeySet
    scope: str
    sends_issuer: bool
    trust: ssl.SSLContext
    guard: OutgoingGuard
    read_at: float


class _ProviderError(Exception):
    """The provider does not answer, or answers something that is not of OpenID Connect."""


@dataclass(slots=True)
class OpenIdSignIn:
    """Sign-ins at the provider of the policy in force.

    `secret` returns Hedgerow's secret there, empty for none. Raises OSError. `local` returns the policy's own names and
    networks.
    """

    provider: Callable[[], OpenIdProvider | None]
    secret: Callable[[], str]
    clock: Callable[[], float] = time.time
    local: Callable[[], Collection[str]] = tuple
    _metadata: _Metadata | None = field(init=False, default=None)
    _failed_at: float = field(init=False, default=float("-inf"))
    _turns: asyncio.Semaphore = field(init=False, default_factory=lambda: asyncio.Semaphore(_MAX_AT_ONCE))

    def redirect_uri(self, origin: str) -> str:
        """Return the address to which the provider sends browsers that use `origin`."""
        provider = self.provider()
        return f"{(provider and provider.address) or origin}/sign-in/openid/back"

    async def begin(self, origin: str) -> PendingSignIn:
        """Return the address of the provider's page. Raises `SignInRefused` while it can't be reached."""
        async with self._asking() as provider:
            metadata = await self._current(provider)
            state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
            async with self._client(provider, metadata.trust, copy(metadata.guard), origin) as client:
                url, _ = client.create_authorization_url(
                    metadata.authorization, scope=metadata.scope, state=state, nonce=nonce, code_verifier=verifier
                )
        return PendingSignIn(url, f"{state}.{nonce}.{verifier}")

    async def finish(self, cookie: str, answer: Mapping[str, str], origin: str) -> ExternalIdentity:
        """Return who has signed in, from the query with which the browser came back. Raises `SignInRefused`."""
        state, _, rest = cookie.partition(".")
        nonce, _, verifier = rest.partition(".")
        if not verifier or not hmac.compare_digest(state.encode(), answer.get("state", "").encode()):
            raise SignInRefused(message("This sign-in was not begun in this browser, or took too long. Begin again."))
        if "code" not in answer:
            log.warning(
                "The OpenID Connect provider has refused a sign-in: %s", _shown(answer.get("error", "it sent no code"))
            )
            raise SignInRefused(message("The sign-in was refused or cancelled there."))
        async with self._asking() as provider:
            metadata = await self._current(provider)
            if answer.get("iss", "" if metadata.sends_issuer else provider.issuer) != provider.issuer:
                raise _ProviderError("the answer is another provider's")
            async with self._client(provider, metadata.trust, copy(metadata.guard), origin) as client:
                token = await client.fetch_token(metadata.token, code=answer["code"], code_verifier=verifier)
                claims = await self._claims(provider, token, nonce)
                if provider.groups not in claims and metadata.userinfo:
                    more = (await client.get(metadata.userinfo)).raise_for_status().json()
                    if not isinstance(more, dict) or more.get("sub") != claims["sub"]:
                        raise _ProviderError("its user information is about somebody else")
                    claims = {**more, **claims}
            return identity_of(provider, claims)

    @contextlib.asynccontextmanager
    async def _asking(self) -> AsyncIterator[OpenIdProvider]:
        """Ask the provider, with a deadline; few do so at once. Failures become `SignInRefused`."""
        provider = self.provider()
        if provider is None:
            raise SignInRefused(message("People sign in here with a password only."))
        try:
            async with self._turns, asyncio.timeout(_TIMEOUT_S):
                yield provider
        except _FAILURES as error:
            log.warning("Signing in by OpenID Connect failed: %s", _shown(str(error) or type(error).__name__))
            raise SignInRefused(
                message("The sign-in there can't be used at the moment. The log says why."), 503
            ) from error

    async def _claims(self, provider: OpenIdProvider, token: Mapping[str, Any], nonce: str) -> dict[str, Any]:
        """Return the claims of the ID token, checked (OpenID Connect Core 1.0, section 3.1.3.7)."""
        encoded, metadata = token.get("id_token"), await self._current(provider)
        if not isinstance(encoded, str):
            raise _ProviderError("it sent no ID token")
        try:
            found = jwt.decode(encoded, metadata.keys, algorithms=_ALGORITHMS)
        except (JoseError, ValueError):
            # It may have new keys. A wrong signature must not make us ask without end.
            if self.clock() - metadata.read_at < _ASK_AGAIN_S:
                raise
            self._metadata = None
            found = jwt.decode(encoded, (await self._current(provider)).keys, algorithms=_ALGORITHMS)
        wanted = {
            "iss": {"essential": True, "value": provider.issuer},
            "aud": {"essential": True, "value": provider.client},
        }
        parameters = {"nonce": nonce, "client_id": provider.client, "access_token": token.get("access_token")}
        claims = CodeIDToken(found.claims, found.header, cast(Any, wanted), parameters)
        claims.validate(round(self.clock()), _LEEWAY_S)
        return dict(found.claims)

    async def _current(self, provider: OpenIdProvider) -> _Metadata:
        """Return the provider's endpoints and keys, at most `_KEEP_S` old."""
        known, now = self._metadata, self.clock()
        if known is not None and known.provider == provider and 0 <= now - known.read_at < _KEEP_S:
            return known
        if 0 <= now - self._failed_at < 1.0:  # many browsers at once
            raise _ProviderError("it did not answer a moment ago")
        try:
            self._metadata = await self._read_metadata(provider)
        except BaseException:
            self._failed_at = now
            raise
        return self._metadata

    async def _read_metadata(self, provider: OpenIdProvider) -> _Metadata:
        trust = await asyncio.to_thread(ssl.create_default_context, cafile=provider.ca or None)
        guard = OutgoingGuard(local=self.local())
        async with self._client(provider, trust, guard) as client:
            url = f"{provider.issuer.rstrip('/')}/.well-known/openid-configuration"
            found = (await client.request("GET", url, withhold_token=True)).raise_for_status().json()
            if found["issuer"] != provider.issuer:
                raise _ProviderError(f"it calls itself {_shown(found['issuer'])}, not {provider.issuer}")
            places = [
                found["authorization_endpoint"],
                found["token_endpoint"],
                found["jwks_uri"],
                found.get("userinfo_endpoint") or "",
            ]
            if any(place and urlsplit(place).scheme != "https" for place in places):
                raise _ProviderError("one of its addresses does not begin with https://")
            keys = KeySet.import_key_set(
                (await client.request("GET", places[2], withhold_token=True)).raise_for_status().json()
            )
        # Some refuse a scope that they do not know, and others send the groups without one.
        scope = (
            "openid profile email groups"
            if "groups" in (found.get("scopes_supported") or ())
            else "openid profile email"
        )
        sends_issuer = found.get("authorization_response_iss_parameter_supported") is True
        return _Metadata(
            provider=provider,
            authorization=places[0],
            token=places[1],
            userinfo=places[3],
            keys=keys,
            scope=scope,
            sends_issuer=sends_issuer,
            trust=trust,
            guard=guard,
            read_at=self.clock(),
        )

    def _client(
        self, provider: OpenIdProvider, trust: ssl.SSLContext, guard: OutgoingGuard, origin: str = ""
    ) -> AsyncOAuth2Client:
        secret = self.secret()
        return AsyncOAuth2Client(
            provider.client,
            secret or None,
            token_endpoint_auth_method=None if secret else "none",
            redirect_uri=self.redirect_uri(origin),
            code_challenge_method="S256",
            timeout=_TIMEOUT_S,
            trust_env=False,
            transport=_BoundedTransport(guard, trust),
            headers={"user-agent": f"Hedgerow/{__version__}", "accept-encoding": "identity"},
        )


_FAILURES = (
    *(_ProviderError, httpx.HTTPError, httpx.InvalidURL, OAuthError, JoseError, ssl.SSLError, OSError, TimeoutError),
    *(LookupError, TypeError, ValueError, AttributeError, RecursionError),  # answers of another shape
)


class _BoundedTransport(httpx.AsyncHTTPTransport):
    """A transport to addresses that a guard permits, or to the environment's proxy. Its responses end with an error
    beyond `_MAX_OCTETS`.
    """

    def __init__(self, guard: OutgoingGuard, trust: ssl.SSLContext) -> None:
        super().__init__(verify=trust, trust_env=False, limits=ONE_REQUEST)
        self._guard = guard
        self._trust = trust

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if (proxy := proxy_for(self._guard, request.url)) is not None:
            through = httpx.AsyncHTTPTransport(verify=self._trust, trust_env=False, limits=ONE_REQUEST, proxy=proxy)
            return self._bounded(await through.handle_async_request(request))
        *others, last = await asyncio.to_thread(pinned, self._guard, request)
        for each in others:
            with contextlib.suppress(httpx.ConnectError, httpx.ConnectTimeout):
                return self._bounded(await super().handle_async_request(each))
        return self._bounded(await super().handle_async_request(last))

    def _bounded(self, response: httpx.Response) -> httpx.Response:
        if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise _ProviderError("it compresses its answer although it was asked not to")
        response.stream = _BoundedStream(cast(httpx.AsyncByteStream, response.stream))
        return response


class _BoundedStream(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for part in self._stream:
            size += len(part)
            if size > _MAX_OCTETS:
                raise _ProviderError("its answer is too long")
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


def identity_of(provider: OpenIdProvider, claims: Mapping[str, Any]) -> ExternalIdentity:
    """Return the identity that claims name, with the first role one of whose groups they have.

    Raises ValueError if they name nobody.
    """
    subject = claims.get("sub")
    if not isinstance(subject, str) or not subject:
        raise ValueError("its ID token names nobody")
    listed = claims.get(provider.groups, ())
    some = [listed] if isinstance(listed, str) else listed[:_MAX_GROUPS] if isinstance(listed, list) else ()
    groups = {each for each in some if isinstance(each, str)}
    role = next((role for role, wanted in provider.roles.items() if groups.intersection(wanted)), "")
    names = (claims.get(key) for key in ("preferred_username", "email", "name"))
    name = next((name for name in names if isinstance(name, str) and name), subject)
    return ExternalIdentity(f"{provider.issuer} {subject}", name, role)


def _shown(text: object) -> str:
    """Return somebody else's text for the log."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(text))[:200]
