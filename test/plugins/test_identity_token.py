"""Identity by token: what a listed issuer signed is believed, and nothing that looks like it.

Tokens are made by hand where a library would refuse to make them; keys come from a real file or web server.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from poms.plugins.identity import keys, token
from poms.webservice.errors import BackendUnavailable, ConfigurationError, NotAuthenticated
from poms.webservice.interfaces import Identity, PluginContext, RequestFacts
from poms.webservice.testing.clock import Clock

ISSUER, OTHER = "https://issuer.example.org/sbnd", "https://issuer.example.org/nova"
SERVICE = "https://poms.example.org"
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
FOREIGN_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
WEAK_KEY = rsa.generate_private_key(public_exponent=65537, key_size=1024)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
P384_KEY = ec.generate_private_key(ec.SECP384R1())


# ----------------------------------------------------------------------------------- making tokens


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def whole(number: int) -> str:
    return encoded(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def public(key, kid: str, **more) -> dict:
    """A key as issuers publish it."""
    numbers = key.public_key().public_numbers()
    if isinstance(key, rsa.RSAPrivateKey):
        return {"kty": "RSA", "kid": kid, "n": whole(numbers.n), "e": whole(numbers.e), **more}
    size, name = (key.key_size + 7) // 8, {256: "P-256", 384: "P-384"}[key.key_size]
    return {"kty": "EC", "kid": kid, "crv": name, "x": encoded(numbers.x.to_bytes(size, "big")),
            "y": encoded(numbers.y.to_bytes(size, "big")), **more}


KEYS = {"keys": [public(RSA_KEY, "r1", alg="RS256", use="sig"), public(EC_KEY, "e1"), public(WEAK_KEY, "weak"),
                 public(P384_KEY, "p384"), public(RSA_KEY, "enc", use="enc"), public(RSA_KEY, "ps", alg="PS256"),
                 public(RSA_KEY, "twice"), public(FOREIGN_KEY, "twice"),
                 {"kty": "oct", "kid": "shared", "k": encoded(b"k" * 32)}, {"kty": "RSA", "kid": "broken", "n": "!"},
                 "nonsense"]}


def signature(key, message: bytes) -> bytes:
    if key is None:
        return b""
    if isinstance(key, bytes):
        return hmac.digest(key, message, hashlib.sha256)
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(message, padding.PKCS1v15(), hashes.SHA256())
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
    size = (key.key_size + 7) // 8
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def make(claims, *, header=None, key=RSA_KEY) -> str:
    """A token of these claims (or of this text), signed."""
    header = {"alg": "RS256", "kid": "r1", "typ": "JWT"} if header is None else header
    parts = [one if isinstance(one, str) else json.dumps(one) for one in (header, claims)]
    message = ".".join(encoded(part.encode()) for part in parts)
    return f"{message}.{encoded(signature(key, message.encode()))}"


def claims(clock, **changes) -> dict:
    now = int(clock().timestamp())
    found = {"iss": ISSUER, "sub": "olive@fnal.gov", "aud": SERVICE, "iat": now, "nbf": now, "exp": now + 3600,
             "wlcg.ver": "1.0", "scope": "compute.create storage.read:/", "jti": "1", **changes}
    return {name: value for name, value in found.items() if value is not None}


# ----------------------------------------------------------------------------------- the service


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "keys.json"
    path.write_text(json.dumps(KEYS))
    return path


def source(clock, issuers, **options):
    """The source as poms.ini makes it."""
    given = {"issuers": tuple(issuers), "audiences": (SERVICE,), "accept_any_audience": False,
             "profiles": ("wlcg", "scitokens"), "scopes": ("compute.create",), "claim": "sub", "suffix": "@fnal.gov",
             "users_file": "", **options}
    return token.build(PluginContext("", given, None, "", SERVICE, clock, lambda name: ""))


def ask(source, text, *, scheme="Bearer", duplicates=()):
    headers = {"authorization": f"{scheme} {text}"}
    return source.identify(RequestFacts(headers, "127.0.0.1", "GET", "/poms/", {}, frozenset(duplicates)))


@pytest.fixture
def believing(clock, key_file):
    """A source with one issuer whose tokens count everywhere, and one whose tokens count for nova."""
    return source(clock, [f"{ISSUER} {key_file}", f"{OTHER} {key_file} nova"])


# ------------------------------------------------------------------------------------- believed


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_token_of_a_listed_issuer_is_believed(believing, clock, scheme):
    """Who it is stands in the claim; no browser sends it by itself."""
    assert ask(believing, make(claims(clock)), scheme=scheme) == Identity("olive", "token", via_browser=False)


@pytest.mark.parametrize(("changes", "header", "key"), [
    ({}, {"alg": "ES256", "kid": "e1"}, EC_KEY),
    ({"aud": ["https://other.example.org", SERVICE]}, None, RSA_KEY),
    ({"wlcg.ver": None, "ver": "scitoken:2.0"}, None, RSA_KEY),
    ({"nbf": None, "iat": None}, None, RSA_KEY),
    ({"exp": 59.5}, None, RSA_KEY),
    ({}, {"alg": "RS256", "kid": "r1", "typ": "at+jwt", "jku": "https://evil.example.org/keys"}, RSA_KEY),
], ids=["P-256", "several audiences", "SciTokens", "only an end", "just expired", "place of keys ignored"])
def test_good_tokens_of_every_kind_are_believed(believing, clock, changes, header, key):
    """What the profiles permit."""
    if "exp" in changes:
        changes = {"exp": clock().timestamp() - changes["exp"]}

    assert ask(believing, make(claims(clock, **changes), header=header, key=key)).username == "olive"


def test_a_token_that_a_library_made_is_believed(believing, clock):
    """Not only those that this module makes."""
    text = jwt.encode(claims(clock), RSA_KEY, algorithm="RS256", headers={"kid": "r1"})

    assert ask(believing, text).username == "olive"


def test_tokens_of_an_experiments_issuer_count_there_only(believing, clock):
    """Whatever else their person may do."""
    assert ask(believing, make(claims(clock, iss=OTHER))).experiments == {"nova"}


@pytest.mark.parametrize("header", ["", "Basic b2xpdmU6b2xpdmU=", "Negotiate x", "Bearer", "Digest a"])
def test_a_request_without_a_token_is_left_to_others(believing, header):
    """A front end may know who sent it."""
    given = {"authorization": header} if header else {}
    facts = RequestFacts(given, "127.0.0.1", "GET", "/poms/", {}, frozenset())
    if header == "Bearer":
        with pytest.raises(NotAuthenticated):
            believing.identify(facts)
    else:
        assert believing.identify(facts) is None


# --------------------------------------------------------------------------------------- refused


def bad_tokens(clock) -> dict[str, str]:
    """Everything that must never be believed, by what is wrong with it."""
    now = int(clock().timestamp())
    good = make(claims(clock))
    head, body, sign = good.split(".")
    pem = RSA_KEY.public_key().public_bytes(serialization.Encoding.PEM,
                                            serialization.PublicFormat.SubjectPublicKeyInfo)
    der = RSA_KEY.public_key().public_bytes(serialization.Encoding.DER,
                                            serialization.PublicFormat.SubjectPublicKeyInfo)
    other_claims = encoded(json.dumps(claims(clock, sub="root@fnal.gov")).encode())
    own_jwk = public(FOREIGN_KEY, "r1")

    def said(**changes):
        return make(claims(clock, **changes))

    def headed(key=RSA_KEY, **header):
        return make(claims(clock), header={"alg": "RS256", "kid": "r1", **header}, key=key)

    return {
        "no algorithm": make(claims(clock), header={"alg": "none", "kid": "r1"}, key=None),
        "None in capitals": make(claims(clock), header={"alg": "NONE", "kid": "r1"}, key=None),
        "none, signed": headed(alg="none"), "no alg": make(claims(clock), header={"kid": "r1"}),
        "alg is null": headed(alg=None), "alg is a list": headed(alg=["RS256"]),
        "HS256 with the public key": headed(key=pem, alg="HS256"),
        "HS256 with the key in DER": headed(key=der, alg="HS256"),
        "HS256 with a published secret": headed(key=b"k" * 32, alg="HS256", kid="shared"),
        "RS256 in small letters": headed(alg="rs256"), "RS512": headed(alg="RS512"), "PS256": headed(alg="PS256"),
        "a key for another algorithm": headed(kid="e1"), "ES256 with an RSA key": headed(alg="ES256"),
        "P-384": headed(key=P384_KEY, alg="ES256", kid="p384"), "a weak key": headed(key=WEAK_KEY, kid="weak"),
        "a key for encryption": headed(kid="enc"), "a key for PSS": headed(kid="ps"),
        "a name of two keys": headed(kid="twice"), "no name of a key": make(claims(clock), header={"alg": "RS256"}),
        "an unknown name of a key": headed(kid="r2"), "a path as name of a key": headed(kid="../../r1"),
        "a number as name of a key": headed(kid=1), "a foreign key": headed(key=FOREIGN_KEY),
        "a foreign key that it brings along": headed(key=FOREIGN_KEY, jwk=own_jwk),
        "a foreign key that it points to": headed(key=FOREIGN_KEY, jku="https://evil.example.org/k", x5u="https://e"),
        "a critical extension": headed(crit=["exp"], exp=now), "of another type": headed(typ="logout+jwt"),
        "no signature": f"{head}.{body}.", "signature cut off": f"{head}.{body}",
        "signature of another": f"{head}.{other_claims}.{sign}",
        "signature changed": f"{head}.{body}.{sign[:-4]}AAAA", "signature twice": f"{good}.{sign}",
        "nested": make(make(claims(clock))), "encrypted in form": f"{head}.{body}.{sign}.a.b", "empty": "",
        "dots": "..",
        "two tokens": f"{good} {good}", "two tokens and a comma": f"{good},{good}", "in quotes": f'"{good}"',
        "not base64": f"!{good}", "padded": f"{head}=.{body}.{sign}", "not ASCII": f"{good}é",
        "a line end": f"{good}\n",
        "very long": make(claims(clock, junk="x" * 20_000)), "deep": make('{"a":' * 4000 + "1" + "}" * 4000),
        "claims are a list": make("[1]"), "claims are no JSON": make("{"), "claims are a text": make('"olive"'),
        "a claim twice": make(json.dumps(claims(clock))[:-1] + ', "sub": "root@fnal.gov"}'),
        "the issuer twice": make(json.dumps(claims(clock, iss=OTHER))[:-1] + f', "iss": "{ISSUER}"}}'),
        "a header twice": make(claims(clock), header='{"alg":"none","kid":"r1","alg":"RS256"}'),
        "NaN": make(json.dumps(claims(clock))[:-1] + ', "exp": NaN}'),
        "expired": said(exp=now - 61), "expired long ago": said(exp=0), "no end": said(exp=None),
        "an end as text": said(exp=str(now + 60)), "an end that is true": said(exp=True),
        "an end beyond time": said(exp=1e30),
        "negative end": said(exp=-5), "not yet": said(nbf=now + 120), "made in the future": said(iat=now + 120),
        "valid for years": said(exp=now + 10 * 365 * 86400), "valid for years without a beginning":
            said(exp=now + 10 * 365 * 86400, iat=None, nbf=None),
        "another audience": said(aud="https://other.example.org"), "no audience": said(aud=None),
        "an audience that begins alike": said(aud=f"{SERVICE}.evil.org"),
        "an audience in a text": said(aud=f"x {SERVICE}"),
        "an audience in an object": said(aud={SERVICE: 1}),
        "any audience": said(aud="https://wlcg.cern.ch/jwt/v1/any"),
        "any audience of SciTokens": said(aud="ANY"),
        "another issuer": said(iss="https://evil.example.org"), "an issuer with a slash more": said(iss=f"{ISSUER}/"),
        "an issuer in capitals": said(iss=ISSUER.upper()), "http issuer": said(iss=ISSUER.replace("https", "http")),
        "issuers in a list": said(iss=[ISSUER]), "no issuer": said(iss=None),
        "a null in the issuer": said(iss=ISSUER + "\0"),
        "an identity token": said(nonce="n"), "another identity token": said(at_hash="x"),
        "no profile": said(**{"wlcg.ver": None}), "an unknown profile": said(**{"wlcg.ver": "9.9"}),
        "a profile as number": said(**{"wlcg.ver": 1.0}), "no scope": said(scope=None),
        "an empty scope": said(scope=""),
        "another scope": said(scope="storage.read:/ compute.read"),
        "a scope that begins alike": said(scope="compute.creates"),
        "scopes as list": said(scope=["compute.create"]),
        "nobody": said(sub=None), "an empty subject": said(sub=""), "only a suffix": said(sub="@fnal.gov"),
        "somebody elsewhere": said(sub="olive@cern.ch"), "a number as subject": said(sub=1000),
        "two subjects": said(sub=["olive@fnal.gov"]), "a subject with a path": said(sub="../root@fnal.gov"),
        "a subject with a line end": said(sub="olive\n@fnal.gov"),
        "a subject with blanks": said(sub="olive root@fnal.gov"),
        "a subject in other letters": said(sub="оlive@fnal.gov"), "SQL": said(sub="' OR 1=1 --@fnal.gov"),
    }




BAD = bad_tokens(Clock())


@pytest.mark.parametrize("what", BAD)
def test_what_is_wrong_with_a_token_is_never_overlooked(believing, clock, what):
    """Refused outright, whatever other sources would say; the token is not repeated, nor anything harmful of it."""
    bad = BAD[what]

    with pytest.raises(NotAuthenticated) as caught:
        ask(believing, bad)
    assert str(caught.value).isprintable()
    assert len(bad) < 30 or bad not in str(caught.value)


def test_enough_bad_tokens_are_tried():
    """The bar is forty."""
    assert len(BAD) >= 40


def test_a_doubled_header_is_refused(believing, clock):
    """Which of the two would have been verified?"""
    with pytest.raises(NotAuthenticated, match="more than once"):
        ask(believing, make(claims(clock)), duplicates=("authorization",))


@pytest.mark.parametrize(("options", "changes"), [
    ({"accept_any_audience": True}, {"aud": "https://wlcg.cern.ch/jwt/v1/any"}),
    ({"profiles": ("any",)}, {"wlcg.ver": None}), ({"scopes": ()}, {"scope": None}),
    ({"claim": "uid", "suffix": ""}, {"uid": "olive", "sub": "x"})], ids=lambda one: next(iter(one)))
def test_what_is_switched_on_is_accepted(clock, key_file, options, changes):
    """And only then."""
    text = make(claims(clock, **changes))
    with pytest.raises(NotAuthenticated):
        ask(source(clock, [f"{ISSUER} {key_file}"]), text)

    assert ask(source(clock, [f"{ISSUER} {key_file}"], **options), text).username == "olive"


def test_with_a_table_only_who_stands_in_it_is_known(clock, key_file, tmp_path):
    """By issuer and subject together: subjects of two issuers may be alike."""
    table = tmp_path / "users"
    table.write_text(f"# subjects\n{ISSUER} 7f3e-11 olive\n{OTHER} 7f3e-11 otto\n\n")
    believing = source(clock, [f"{ISSUER} {key_file}", f"{OTHER} {key_file}"], users_file=str(table))

    assert ask(believing, make(claims(clock, sub="7f3e-11"))).username == "olive"
    assert ask(believing, make(claims(clock, sub="7f3e-11", iss=OTHER))).username == "otto"
    with pytest.raises(NotAuthenticated, match="registered for nobody"):
        ask(believing, make(claims(clock)))


@pytest.mark.parametrize(("options", "words"), [
    ({"issuers": ()}, "issuers is empty"), ({"issuers": (ISSUER,)}, "place of its keys"),
    ({"issuers": (f"{ISSUER} http://keys.example.org/k",)}, "no place for keys"),
    ({"issuers": (f"{ISSUER} ftp://x/y",)}, "no place for keys"), ({"issuers": (f"{ISSUER} keys.json",)}, "no place"),
    ({"issuers": (f"{ISSUER} /a", f"{ISSUER} /b")}, "twice"), ({"profiles": ("oidc",)}, "profiles"),
    ({"profiles": ()}, "profiles"), ({"users_file": "/nothing/there"}, "cannot be read")], ids=str)
def test_senseless_options_stop_the_start(clock, options, words):
    """With the name of the option."""
    with pytest.raises(ConfigurationError, match=words):
        source(clock, **{"issuers": [f"{ISSUER} /k"], **options})


@pytest.mark.parametrize("line", ["only two", f"{ISSUER} a b c", f"{ISSUER} sub bad/name",
                                  f"{ISSUER} 1 a\n{ISSUER} 1 b"])
def test_a_table_that_is_wrong_stops_the_start(clock, tmp_path, line):
    """With its line."""
    table = tmp_path / "users"
    table.write_text(line)

    with pytest.raises(ConfigurationError, match="line [12]"):
        source(clock, [f"{ISSUER} /k"], users_file=str(table))


@pytest.mark.parametrize(("listen", "levels"), [("127.0.0.1:8080", ["ok"]), ("0.0.0.0:8080", ["warning", "ok"])])
def test_tokens_without_encryption_are_warned_about(clock, listen, levels):
    """A front end with TLS belongs before the service."""
    assert [each.level for each in source(clock, [f"{ISSUER} /k"]).start_checks(listen)] == levels


# ------------------------------------------------------------------------------------ their keys


class Publisher:
    """An issuer's web server: what it publishes, and how often it was asked."""

    def __init__(self):
        publisher = self
        self.status, self.body, self.asked, self.location = 200, json.dumps(KEYS).encode(), 0, ""

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                publisher.asked += 1
                self.send_response(publisher.status)
                if publisher.location:
                    self.send_header("Location", publisher.location)
                self.send_header("Content-Length", str(len(publisher.body)))
                self.end_headers()
                self.wfile.write(publisher.body)

            def log_message(self, *_):
                """Nothing: the test's output is its own."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()
        self.address = f"http://127.0.0.1:{self.server.server_port}/keys"

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def publisher():
    made = Publisher()
    yield made
    made.close()


@pytest.fixture
def remote(clock, publisher):
    return source(clock, [f"{ISSUER} {publisher.address}"])


def fetched(source):
    """Wait until nothing is being fetched."""
    keyset = next(iter(source._issuers.values())).keys
    with keyset._changed:
        assert keyset._changed.wait_for(lambda: not keyset._fetching, 30)


def test_keys_are_fetched_once_and_kept(remote, clock, publisher):
    """A thousand requests ask the issuer once."""
    assert {ask(remote, make(claims(clock))).username for _ in range(5)} == {"olive"}

    assert publisher.asked == 1


def test_a_new_key_is_believed_when_it_is_published(remote, clock, publisher):
    """The set is fetched again for it, but not for each unknown name."""
    ask(remote, make(claims(clock)))
    new = make(claims(clock), header={"alg": "RS256", "kid": "new"}, key=FOREIGN_KEY)
    publisher.body = json.dumps({"keys": [public(FOREIGN_KEY, "new")]}).encode()
    for _ in range(3):
        with pytest.raises(NotAuthenticated, match="no key"):
            ask(remote, new)
    assert publisher.asked == 1

    clock.advance(seconds=61)

    assert ask(remote, new).username == "olive"
    assert publisher.asked == 2


def test_a_key_that_is_withdrawn_is_believed_no_longer(remote, clock, publisher):
    """From the next fetch on, which is made beside a request and not by it."""
    ask(remote, make(claims(clock)))
    publisher.body = json.dumps({"keys": [public(FOREIGN_KEY, "new")]}).encode()
    clock.advance(seconds=601)
    ask(remote, make(claims(clock)))
    fetched(remote)

    with pytest.raises(NotAuthenticated):
        ask(remote, make(claims(clock)))


def test_an_issuer_that_is_silent_for_a_while_is_no_matter(remote, clock, publisher):
    """Up to the ceiling; then nobody is let in on keys that nobody can confirm."""
    ask(remote, make(claims(clock)))
    publisher.status = 500
    clock.advance(seconds=int(keys.CEILING.total_seconds()) - 5)
    assert ask(remote, make(claims(clock))).username == "olive"
    fetched(remote)

    clock.advance(seconds=10)

    with pytest.raises(BackendUnavailable, match="not known now"):
        ask(remote, make(claims(clock)))
    publisher.status = 200
    clock.advance(seconds=61)
    assert ask(remote, make(claims(clock))).username == "olive"


@pytest.mark.parametrize(("status", "body"), [
    (200, b"{}"), (200, b"[]"), (200, b"<html>"), (200, b'{"keys": []}'), (200, b'{"keys": {}}'), (404, b"{}"),
    (200, json.dumps({"keys": [public(WEAK_KEY, "r1")]}).encode()), (200, b"x" * 600_000)])
def test_an_answer_that_is_no_set_of_keys_lets_nobody_in(remote, clock, publisher, status, body):
    """An error is never an empty answer."""
    publisher.status, publisher.body = status, body

    with pytest.raises(BackendUnavailable):
        ask(remote, make(claims(clock)))


def test_a_redirect_is_not_followed(remote, clock, publisher):
    """It could lead anywhere."""
    publisher.status, publisher.location = 302, publisher.address

    with pytest.raises(BackendUnavailable, match="302"):
        ask(remote, make(claims(clock)))
    assert publisher.asked == 1


def test_keys_in_a_file_are_read_again(clock, key_file):
    """When they are old."""
    believing = source(clock, [f"{ISSUER} {key_file}"])
    ask(believing, make(claims(clock)))
    key_file.write_text(json.dumps({"keys": [public(FOREIGN_KEY, "r1")]}))
    clock.advance(seconds=601)
    ask(believing, make(claims(clock)))
    fetched(believing)

    with pytest.raises(NotAuthenticated, match="signature"):
        ask(believing, make(claims(clock)))


def test_the_first_look_at_a_token_takes_keys_of_that_issuer_only(clock, publisher, key_file):
    """A token of one issuer asks no other."""
    believing = source(clock, [f"{ISSUER} {key_file}", f"{OTHER} {publisher.address}"])

    ask(believing, make(claims(clock)))

    assert publisher.asked == 0
    assert timedelta(0) < keys.FRESH < keys.CEILING
