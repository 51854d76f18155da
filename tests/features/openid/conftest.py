"""An OpenID Connect provider over HTTPS on loopback: authlib's authorization server, which checks PKCE, redirects and
clients.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flask
import pytest
from authlib.deprecate import AuthlibDeprecationWarning
from joserfc.jwk import KeySet, RSAKey
from small_internet.authority import Authority
from werkzeug.serving import WSGIRequestHandler, make_server

with warnings.catch_warnings():
    warnings.simplefilter("ignore", AuthlibDeprecationWarning)
    from authlib.integrations.flask_oauth2 import AuthorizationServer
    from authlib.oauth2.rfc6749 import AuthorizationCodeMixin, ClientMixin
    from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant
    from authlib.oauth2.rfc7636 import CodeChallenge
    from authlib.oidc.core.grants import OpenIDCode

CLIENT, CREDENTIAL = "hedgerow", "the client's own"


@dataclass(slots=True)
class Provider:
    """A running provider.

    Tests change who signs in (`person`), their groups, and what is wrong with the next ID token (`flaw`).
    """

    issuer: str = ""
    ca: str = ""
    person: str = "ana"
    groups: dict[str, list[str]] = field(
        default_factory=lambda: {"ana": ["it-staff"], "tom": ["teachers", "all"], "eve": ["pupils"]}
    )
    flaw: dict[str, Any] = field(default_factory=dict)
    key: RSAKey = field(default_factory=lambda: _new_key("first"))
    algorithm: str = "RS256"
    groups_in_token: bool = True
    long_answer: bool = False
    odd_answer: bytes = b""
    scopes: list[str] | None = None
    requests: list[str] = field(default_factory=list)

    def change_key(self) -> None:
        self.key = _new_key("second")


def _new_key(name: str) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": name, "use": "sig"}, private=True)


class _Client(ClientMixin):  # type: ignore[misc]
    def get_client_id(self) -> str:
        return CLIENT

    def get_default_redirect_uri(self) -> None:
        return None

    def get_allowed_scope(self, scope: str) -> str:
        return scope

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri.endswith("/sign-in/openid/back")

    def check_client_secret(self, client_secret: str) -> bool:
        return client_secret == CREDENTIAL

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == "client_secret_basic"

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "authorization_code"


@dataclass(slots=True)
class _Code(AuthorizationCodeMixin):  # type: ignore[misc]
    code: str
    person: str
    redirect_uri: str
    scope: str
    nonce: str
    code_challenge: str
    code_challenge_method: str

    def get_redirect_uri(self) -> str:
        return self.redirect_uri

    def get_scope(self) -> str:
        return self.scope

    def get_nonce(self) -> str:
        return self.nonce

    def get_auth_time(self) -> None:
        return None

    get_acr = get_amr = get_auth_time


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    """A running provider, for all tests of a file."""
    with running_provider(tmp_path_factory.mktemp("provider")) as server:
        yield server


@contextlib.contextmanager
def running_provider(folder: Path) -> Iterator[Provider]:
    """Run a provider whose certificate an authority in `folder` has issued."""
    authority = Authority(folder)
    provider, leaf = Provider(ca=str(authority.root)), authority.leaf("localhost")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(leaf.certificate, leaf.key)
    server = make_server(
        "127.0.0.1", 0, _app(provider), threaded=True, request_handler=_QuietHandler, ssl_context=context
    )
    provider.issuer = f"https://localhost:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _QuietHandler(WSGIRequestHandler):
    def log(self, _type: str, _message: str, *_arguments: Any) -> None:
        """Say nothing."""


def _app(provider: Provider) -> flask.Flask:
    app, codes, tokens = flask.Flask(__name__), dict[str, _Code](), dict[str, str]()

    def save_token(token: dict[str, Any], request: Any) -> None:
        tokens[token["access_token"]] = request.user

    server = AuthorizationServer(app, lambda name: _Client() if name == CLIENT else None, save_token)

    class Grant(AuthorizationCodeGrant):  # type: ignore[misc]
        TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic",)

        def save_authorization_code(self, code: str, request: Any) -> None:
            asked = request.payload.data
            codes[code] = _Code(
                code,
                request.user,
                asked["redirect_uri"],
                asked["scope"],
                asked["nonce"],
                asked["code_challenge"],
                asked["code_challenge_method"],
            )

        def query_authorization_code(self, code: str, _client: Any) -> _Code | None:
            return codes.get(code)

        def delete_authorization_code(self, code: _Code) -> None:
            del codes[code.code]

        def authenticate_user(self, code: _Code) -> str:
            return code.person

    class IdToken(OpenIDCode):  # type: ignore[misc]
        def exists_nonce(self, _nonce: str, _request: Any) -> bool:
            return False

        def resolve_client_private_key(self, _client: Any) -> RSAKey:
            return provider.key

        def get_client_algorithm(self, _client: Any) -> str:
            return provider.algorithm

        def get_encode_header(self, _client: Any) -> dict[str, str]:
            return {"alg": provider.algorithm, "kid": provider.key.kid or ""}

        def get_compatible_claims(self, _request: Any) -> dict[str, Any]:
            now = int(time.time())
            return {"iss": provider.issuer, "aud": CLIENT, "iat": now, "exp": now + 300}

        def generate_user_info(self, user: str, _scope: str) -> dict[str, Any]:
            return _claims(provider, user, provider.groups_in_token) | provider.flaw

    server.register_grant(Grant, [IdToken(), CodeChallenge(required=True)])

    @app.before_request
    def note() -> None:
        provider.requests.append(flask.request.path)

    @app.get("/.well-known/openid-configuration")
    def configuration() -> Any:
        if provider.odd_answer:
            return flask.Response(provider.odd_answer, mimetype="application/json")
        places = {
            "authorization_endpoint": "authorize",
            "token_endpoint": "token",
            "jwks_uri": "keys",
            "userinfo_endpoint": "userinfo",
        }
        more: dict[str, Any] = {"x": "y" * 300_000} if provider.long_answer else {}
        more |= {"scopes_supported": provider.scopes} if provider.scopes is not None else {}
        return {"issuer": provider.issuer} | {key: f"{provider.issuer}/{path}" for key, path in places.items()} | more

    @app.get("/keys")
    def keys() -> Any:
        return KeySet([provider.key]).as_dict(private=False)

    @app.get("/authorize")
    def authorize() -> Any:
        grant = server.get_consent_grant(end_user=provider.person)
        return server.create_authorization_response(grant=grant, grant_user=provider.person)

    @app.post("/token")
    def token() -> Any:
        return server.create_token_response()

    @app.get("/userinfo")
    def userinfo() -> Any:
        person = tokens[flask.request.headers["authorization"].removeprefix("Bearer ")]
        return _claims(provider, person, True)

    return app


def _claims(provider: Provider, person: str, with_groups: bool) -> dict[str, Any]:
    return {"sub": f"id-{person}", "preferred_username": person} | (
        {"groups": provider.groups[person]} if with_groups else {}
    )
