"""Identity by certificate: what a front end verified and somebody registered is believed, and nothing else."""

from __future__ import annotations

import base64

import pytest

from poms.plugins.identity import certificate, names
from poms.webservice.errors import BackendUnavailable, ConfigurationError, NotAuthenticated
from poms.webservice.interfaces import Identity, PluginContext, RequestFacts

SECRET = "a-secret-of-the-front-end"
HEADER, VERIFY, SHOWN = "x-ssl-client-dn", "x-ssl-client-verify", "x-poms-proxy-secret"
OLIVE = "/DC=org/DC=cilogon/C=US/O=Fermi National Accelerator Laboratory/CN=Olive Owner/CN=UID:olive"
ROBOT = "/DC=org/DC=incommon/C=US/O=Fermi/CN=sbndpro/host.example.org"
MAP = f'# who is who\n"{OLIVE}" olive\n\n"{ROBOT}" sbndpro,other\n"/DC=org/CN=Éva, PhD" eva\n'


@pytest.fixture
def map_file(tmp_path):
    path = tmp_path / "grid-mapfile"
    path.write_text(MAP)
    return path


def source(map_path, /, **options):
    """The source as poms.ini makes it."""
    given = {"map_file": str(map_path), "header": "X-SSL-Client-DN", "verify_header": "X-SSL-Client-Verify",
             "secret_header": "X-Poms-Proxy-Secret", "encoding": "plain", "accept_proxies": False, "secret_file": "",
             "trusted_proxies": ("127.0.0.1", "10.1.2.0/28"), **options}
    return certificate.build(PluginContext("", given, None, "", "", lambda: None, lambda name: SECRET))


def ask(source, headers, *, peer="127.0.0.1", duplicates=()):
    return source.identify(RequestFacts(headers, peer, "GET", "/poms/", {}, frozenset(duplicates)))


def good(**more):
    return {HEADER: OLIVE, VERIFY: "SUCCESS", SHOWN: SECRET, **more}


def encoded(text):
    return base64.b64encode(text.encode()).decode()


# ------------------------------------------------------------------------------------- believed


@pytest.mark.parametrize(("shown", "user"), [(OLIVE, "olive"), (ROBOT, "sbndpro"),
                                             (OLIVE.replace("/DC=", "/dc=").replace("/O=", "/o="), "olive")])
def test_a_registered_certificate_is_its_owners(map_file, shown, user):
    """Kinds of parts are the same in small letters; values are not."""
    assert ask(source(map_file), good(**{HEADER: shown})) == Identity(user, "certificate", via_browser=False)


@pytest.mark.parametrize("shown", [
    OLIVE, "CN=UID:olive,CN=Olive Owner,O=Fermi National Accelerator Laboratory,C=US,DC=cilogon,DC=org",
    "CN=UID:olive, CN=Olive Owner, O=Fermi National Accelerator Laboratory, C=US, DC=cilogon, DC=org"])
def test_both_spellings_of_a_name_are_one_name(map_file, shown):
    """Commas do not go through headers unharmed, so such a name comes encoded."""
    assert ask(source(map_file, encoding="base64"), good(**{HEADER: encoded(shown)})).username == "olive"


def test_a_name_with_a_comma_in_it_is_read_as_it_is_meant(map_file):
    """And letters of all languages."""
    shown = encoded("CN=\\C3\\89va\\, PhD,DC=org")

    assert ask(source(map_file, encoding="base64"), good(**{HEADER: shown})).username == "eva"


@pytest.mark.parametrize("more", ["/CN=12345", "/CN=proxy", "/CN=12345/CN=67890", "/CN=limited proxy"])
def test_a_proxy_certificate_stands_for_its_maker_where_that_is_wanted(map_file, more):
    """And is a stranger's where it is not."""
    shown = good(**{HEADER: OLIVE + more})

    assert ask(source(map_file, accept_proxies=True), shown).username == "olive"
    with pytest.raises(NotAuthenticated, match="registered for nobody"):
        ask(source(map_file), shown)


@pytest.mark.parametrize("headers", [{"user-agent": "Mozilla/5.0"}, {"origin": "null"}, {"referer": "https://x"},
                                     {"sec-fetch-site": "cross-site"}])
def test_a_certificate_in_a_browser_needs_the_defence_against_forged_pages(map_file, headers):
    """Browsers send certificates by themselves."""
    assert ask(source(map_file), good(**headers)).via_browser is True


@pytest.mark.parametrize("headers", [{}, {HEADER: ""}, {HEADER: "(null)", VERIFY: "NONE"}, {VERIFY: "(null)"},
                                     {SHOWN: SECRET}, {HEADER: "", VERIFY: "NONE", SHOWN: SECRET}])
def test_a_request_without_a_certificate_is_left_to_others(map_file, headers):
    """There is no default user."""
    assert ask(source(map_file), headers) is None


# --------------------------------------------------------------------------------------- refused


REFUSED = [
    *[pytest.param({HEADER: shown}, "127.0.0.1", (), id=f"name {shown[:24]!a}") for shown in (
        "/DC=org/CN=stranger", OLIVE.upper(), OLIVE[:-1], OLIVE + "x", OLIVE + " ", OLIVE[1:], "olive", "/", "/CN=",
        "/CN", "CN=UID:olive", OLIVE + "/CN=12345", OLIVE + "\n", OLIVE + "\0", "/CN=Olive\u202e", "x" * 3000,
        f"{OLIVE}, {OLIVE}", "/DC=org/CN='; DROP TABLE", OLIVE.replace("/CN=Olive Owner", ""), "CN=a+CN=b,DC=org",
        "CN=\"a\",DC=org", "CN=a\\", "CN=a\\zz", ",", "CN=a,,DC=org", "=a", "/=a")],
    *[pytest.param({VERIFY: said}, "127.0.0.1", (), id=f"verify {said!r}") for said in (
        "FAILED:expired", "success", "SUCCESS, SUCCESS", "GENEROUS", "NONE", "", "(null)", "SUCCESS ")],
    *[pytest.param({SHOWN: said}, "127.0.0.1", (), id=f"secret {said!a}") for said in (
        "", SECRET + "x", SECRET[:-1], f"{SECRET}, {SECRET}", "é")],
    *[pytest.param({}, peer, (), id=f"peer {peer!r}") for peer in (
        "10.1.2.16", "192.168.0.1", "", "::1", "10.1.2.7:80", "fe80::1%lo", "localhost")],
    *[pytest.param({}, "127.0.0.1", (name,), id=f"doubled {name}") for name in (
        HEADER, VERIFY, SHOWN, "X_SSL_Client_DN")],
    *[pytest.param({name: OLIVE}, "127.0.0.1", (), id=f"spelling {name}") for name in (
        "x_ssl_client_dn", "X-SSL-Client-DN", "x-ssl-client_dn", "x_ssl_client_verify")],
    *[pytest.param({"connection": said}, "127.0.0.1", (), id=f"connection {said}") for said in (
        "X-SSL-Client-DN", "close, x_ssl_client_verify")],
    pytest.param({HEADER: "", VERIFY: "SUCCESS"}, "127.0.0.1", (), id="verified, without a name"),
]


@pytest.mark.parametrize(("changes", "peer", "duplicates"), REFUSED)
def test_a_forged_certificate_is_refused_outright(map_file, changes, peer, duplicates):
    """Whatever other sources would say; nothing harmful is repeated."""
    with pytest.raises(NotAuthenticated) as caught:
        ask(source(map_file), good(**changes), peer=peer, duplicates=duplicates)
    assert str(caught.value).isprintable()
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("shown", [OLIVE, "not base64!", encoded(OLIVE) + "é", encoded("\x00"), "====", "//79"])
def test_an_encoded_name_must_be_one(map_file, shown):
    """Nothing is guessed."""
    with pytest.raises(NotAuthenticated):
        ask(source(map_file, encoding="base64"), good(**{HEADER: shown}))


# ------------------------------------------------------------------------------------ the map file


def test_who_is_taken_off_the_map_is_a_stranger_at_once(map_file):
    """And who is put on it is known."""
    believing = source(map_file)
    ask(believing, good())

    map_file.write_text('"/DC=org/CN=New" nora\n')

    with pytest.raises(NotAuthenticated, match="registered for nobody"):
        ask(believing, good())
    assert ask(believing, good(**{HEADER: "/DC=org/CN=New"})).username == "nora"


@pytest.mark.parametrize("spoil", [lambda path: path.unlink(), lambda path: path.write_text("nonsense"),
                                   lambda path: path.write_bytes(b"\xff")], ids=["gone", "nonsense", "no text"])
def test_a_map_that_cannot_be_read_lets_nobody_in(map_file, spoil):
    """What was read before may be just what was taken away."""
    believing = source(map_file)
    ask(believing, good())
    spoil(map_file)

    with pytest.raises(BackendUnavailable, match="map of certificates"):
        ask(believing, good())


@pytest.mark.parametrize("line", [
    "nonsense", '"/CN=a"', '"/CN=a" b c', '"/CN=a b', '"olive" olive', '"/CN=a" ../b', '"/CN=a" "b c"',
    '"/CN=a" x\n"/CN=a" y'])
def test_a_map_that_is_wrong_stops_the_start(map_file, line):
    """With the line; one name is one person's."""
    map_file.write_text(line)

    with pytest.raises(ConfigurationError, match="line [12]"):
        source(map_file)


@pytest.mark.parametrize(("options", "words"), [
    ({"map_file": ""}, "map_file is empty"), ({"map_file": "/nothing/there"}, "cannot be read"),
    ({"encoding": "utf-8"}, "encoding"), ({"header": "X_DN"}, "header"),
    ({"verify_header": "X-SSL-Client-DN"}, "three headers"), ({"trusted_proxies": ("x",)}, "trusted_proxies")],
    ids=lambda one: str(one)[:30])
def test_senseless_options_stop_the_start(map_file, options, words):
    """With the name of the option."""
    with pytest.raises(ConfigurationError, match=words):
        source(map_file, **options)


@pytest.mark.parametrize(("trusted", "levels"), [((), ["error"]), (("0.0.0.0/0",), ["error"]),
                                                 (("127.0.0.1",), ["ok"])])
def test_a_front_end_must_be_named(map_file, trusted, levels):
    """Neither nobody nor everybody."""
    assert [each.level for each in source(map_file, trusted_proxies=trusted).start_checks("127.0.0.1:1")] == levels


def test_a_person_whose_name_looks_like_a_proxys_keeps_it():
    """One part is always left."""
    assert names.without_proxies(names.read_name("/CN=proxy")) == (("CN", "proxy"),)
