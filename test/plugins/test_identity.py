"""Identity sources: who is believed, and the many ways in which nobody is."""

from pathlib import Path

import pytest

from poms.plugins.identity import demo, proxy
from poms.webservice import config
from poms.webservice.errors import ConfigurationError, NotAuthenticated
from poms.webservice.interfaces import Identity, PluginContext, RequestFacts

SECRET = "a-secret-of-the-front-end"
USER, SHOWN, METHOD = "x-shib-userid", "x-poms-proxy-secret", "x-poms-auth-method"


def request(headers=None, *, peer="127.0.0.1", duplicates=()):
    return RequestFacts(headers=headers or {}, peer=peer, method="GET", path="/poms/", environ={},
                        duplicates=frozenset(duplicates))


def context(tmp_path, section, **options):
    return PluginContext(experiment="", options=options, data_dir=tmp_path, database_url="", public_url="",
                         clock=lambda: None, secret=lambda name: SECRET)


def make_proxy(tmp_path, **changes):
    options = {"header": "X-Shib-Userid", "secret_header": "X-Poms-Proxy-Secret", "method_header": "X-Poms-Auth-Method",
               "trusted_proxies": ("127.0.0.1", "10.1.2.0/28", "fd00::/64"), "secret_file": ""}
    return proxy.build(context(tmp_path, proxy.SECTION, **{**options, **changes}))


def good(**more):
    return {USER: "alice", SHOWN: SECRET, **more}


# ------------------------------------------------------------------------------------------------ proxy


@pytest.mark.parametrize("peer", ["127.0.0.1", "10.1.2.7", "::ffff:10.1.2.7", "::ffff:127.0.0.1", "fd00::5"])
def test_front_end_with_the_secret_is_believed(tmp_path, peer):
    """The right address and the right secret make a user."""
    assert make_proxy(tmp_path).identify(request(good(), peer=peer)) == Identity("alice", "proxy", via_browser=True)


@pytest.mark.parametrize(("method", "browser"), [("certificate", False), ("token", False), ("browser", True),
                                                 ("", True)])
def test_front_end_says_how_the_user_was_known(tmp_path, method, browser):
    """Certificates and tokens are not sent by themselves: no forged page can use them."""
    assert make_proxy(tmp_path).identify(request(good(**{METHOD: method}))).via_browser is browser


@pytest.mark.parametrize("headers", [
    {}, {USER: ""}, {USER: "(null)"}, {SHOWN: SECRET}, {USER: "", SHOWN: SECRET}, {USER: "(null)", SHOWN: SECRET},
    {"x-shib-user": "alice", SHOWN: SECRET}, {"remote-user": "alice", SHOWN: SECRET},
    {"xshibuserid": "alice", SHOWN: SECRET}, {"x-shib-userid2": "alice", SHOWN: SECRET},
], ids=repr)
def test_request_that_shows_nobody_is_nobody(tmp_path, headers):
    """There is no default user: the next source is asked, and if it is the last the answer is 401."""
    assert make_proxy(tmp_path).identify(request(headers)) is None


NAMES_THAT_ARE_NONE = [
    "alice\n", "alice\r\nX-Role: root", "alice\0", "\0", "alice\tbob", "alice bob", " alice", "alice ", "\talice",
    "alice, bob", "alice,alice", "alice;bob", "älice", "alice\u200b", "alice\u202e", "\uff41lice", "al\xadice",
    "alice\x7f", "alice\x85", "alice\x1b[0m", "a" * 65, "a" * 100_000, "../alice", "/alice", "alice/../root",
    "alice'--", 'alice"', "alice`id`", "$(id)", "%61lice", "alice%00", "<alice>", "(NULL)", "( null )", "(null)x",
    "null\n", ".alice", "-alice", "@alice", "_alice", "*", "\\alice", "CN=alice/CN=UID:alice", "\udc80alice",
]
NOT_THE_FRONT_END = ["", "unix", "localhost", "10.1.2.16", "10.1.3.7", "192.168.0.1", "0.0.0.0", "::", "::1", "fd01::5",
                     "::ffff:10.1.3.7", "127.0.0.2", "127.1", "2130706433", "0x7f000001", "127.0.0.1, 10.1.2.7",
                     "10.1.2.7:80", "[fd00::5]", "fd00::5%eth0\n", "010.1.2.7"]
WRONG_SECRETS = [None, "", SECRET[:-1], SECRET + "x", SECRET.upper(), f" {SECRET}", f"{SECRET}, {SECRET}",
                 f"{SECRET}\n", f"{SECRET}\0", "é" * 25, "\udcff", "(null)"]
SMUGGLED = [
    *[pytest.param(good(**{USER: name}), "127.0.0.1", (), id=f"name {name[:20]!a}") for name in NAMES_THAT_ARE_NONE],
    *[pytest.param(good(), peer, (), id=f"peer {peer!r}") for peer in NOT_THE_FRONT_END],
    *[pytest.param({USER: "alice"} if secret is None else good(**{SHOWN: secret}), "127.0.0.1", (),
                   id=f"secret {secret!a}") for secret in WRONG_SECRETS],
    *[pytest.param(good(), "127.0.0.1", (name,), id=f"doubled {name}")
      for name in (USER, SHOWN, METHOD, "x_shib_userid", "X-Shib-Userid", "x-shib_userid", "x_poms_proxy_secret")],
    *[pytest.param(good(**{name: "root"}), "127.0.0.1", (), id=f"spelling {name}")
      for name in ("x_shib_userid", "x-shib_userid", "X-Shib-Userid", "X_SHIB_USERID", "x-shib-userid ",
                   "x_poms_proxy_secret", "x_poms_auth_method", "X-POMS-PROXY-SECRET")],
    *[pytest.param(good(**{listing: value}), "127.0.0.1", (), id=f"{listing}: {value}")
      for listing, value in (("connection", "X-Shib-Userid"), ("connection", "close, x-poms-proxy-secret"),
                             ("connection", "x_shib_userid"), ("trailer", "X-Shib-Userid"),
                             ("proxy-connection", "keep-alive, X-Shib-Userid"))],
    *[pytest.param(good(**{METHOD: method}), "127.0.0.1", (), id=f"method {method!r}")
      for method in ("Certificate", "token, browser", "none", "certificate\n")],
    pytest.param(good(**{"x-forwarded-for": "127.0.0.1"}), "192.168.0.1", (), id="forwarded for"),
    pytest.param(good(forwarded="for=127.0.0.1"), "192.168.0.1", (), id="forwarded"),
    pytest.param({"x_shib_userid": "alice", SHOWN: SECRET}, "127.0.0.1", (), id="underscores only"),
]


@pytest.mark.parametrize(("headers", "peer", "duplicates"), SMUGGLED)
def test_smuggled_identity_is_refused_outright(tmp_path, headers, peer, duplicates):
    """Whoever shows an identity in the wrong way is refused, whatever other sources would say."""
    with pytest.raises(NotAuthenticated):
        make_proxy(tmp_path).identify(request(headers, peer=peer, duplicates=duplicates))


def test_enough_ways_of_smuggling_are_tried():
    """The bar is sixty."""
    assert len(SMUGGLED) >= 60


def test_refusal_repeats_nothing_that_was_not_made_harmless(tmp_path):
    """Neither the secret nor control characters get into messages."""
    with pytest.raises(NotAuthenticated) as caught:
        make_proxy(tmp_path).identify(request(good(**{USER: "a\r\nb\x1b\u202e"})))

    assert str(caught.value).isprintable()
    assert SECRET not in str(caught.value)


def test_secret_comes_from_the_service_unless_a_file_is_named(tmp_path):
    """The file that Apache reads can be named; then the service's own secret is worth nothing."""
    path = tmp_path / "secret"
    path.write_text("another-secret-0123456789\n")
    path.chmod(0o640)
    source = make_proxy(tmp_path, secret_file=str(path))

    assert source.identify(request(good(**{SHOWN: "another-secret-0123456789"}))).username == "alice"
    with pytest.raises(NotAuthenticated):
        source.identify(request(good()))


@pytest.mark.parametrize(("text", "mode", "words"), [("", 0o600, "at least 16"), ("short", 0o600, "at least 16"),
                                                     ("long-enough-secret-text", 0o644, "everybody may read")])
def test_weak_secret_file_stops_the_start(tmp_path, text, mode, words):
    """An empty secret would be matched by an absent header."""
    path = tmp_path / "secret"
    path.write_text(text)
    path.chmod(mode)

    with pytest.raises(ConfigurationError, match=words):
        make_proxy(tmp_path, secret_file=str(path))


def test_missing_secret_file_stops_the_start(tmp_path):
    """No secret means no service."""
    with pytest.raises(ConfigurationError, match="cannot be read"):
        make_proxy(tmp_path, secret_file=str(tmp_path / "none"))


@pytest.mark.parametrize(("changes", "words"), [
    ({"trusted_proxies": ("nonsense",)}, "trusted_proxies"), ({"trusted_proxies": ("10.0.0.1/8",)}, "trusted_proxies"),
    ({"header": "X_Shib_Userid"}, "header"), ({"header": ""}, "header"), ({"header": "a b"}, "header"),
    ({"header": "X-Poms-Proxy-Secret"}, "three headers"),
])
def test_senseless_options_stop_the_start(tmp_path, changes, words):
    """What could never work is refused with the option's name."""
    with pytest.raises(ConfigurationError, match=words):
        make_proxy(tmp_path, **changes)


@pytest.mark.parametrize("networks", [(), ("0.0.0.0/0",), ("::/0",), ("127.0.0.1", "0.0.0.0/0")])
def test_proxy_that_trusts_nobody_or_everybody_does_not_start(tmp_path, networks):
    """Header identity needs the address of a front end."""
    results = make_proxy(tmp_path, trusted_proxies=networks).start_checks("127.0.0.1:8080")

    assert [result.level for result in results] == ["error"]


def test_large_network_is_warned_about(tmp_path):
    """A whole site is not a front end."""
    results = make_proxy(tmp_path, trusted_proxies=("10.0.0.0/8",)).start_checks("0.0.0.0:8080")

    assert [result.level for result in results] == ["warning", "ok"]


# ------------------------------------------------------------------------------------------------- demo


def make_demo(tmp_path, user="demo"):
    return demo.build(context(tmp_path, demo.SECTION, user=user))


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "127.0.0.1:9", "[::1]:8080", "poms.localhost:80"])
def test_everybody_on_this_machine_is_the_demo_user(tmp_path, peer, host):
    """A fresh installation can be tried without any account."""
    assert make_demo(tmp_path).identify(request({"host": host}, peer=peer)).username == "demo"


@pytest.mark.parametrize("peer", ["", "10.0.0.1", "::2", "::ffff:10.0.0.1", "localhost.example.org", "127.0.0.1x",
                                  "0.0.0.0", "127.1"])
def test_demo_user_is_unknown_elsewhere(tmp_path, peer):
    """Nobody becomes the demo user over the network."""
    with pytest.raises(NotAuthenticated):
        make_demo(tmp_path).identify(request({"host": "localhost"}, peer=peer))


@pytest.mark.parametrize("name", ["x-forwarded-for", "x_forwarded_for", "X-Forwarded-For", "forwarded", "via",
                                  "x-real-ip", "x-forwarded-host"])
def test_demo_user_does_not_come_through_a_proxy(tmp_path, name):
    """Behind a front end every peer is loopback: then the address says nothing."""
    with pytest.raises(NotAuthenticated, match="through a proxy"):
        make_demo(tmp_path).identify(request({"host": "localhost", name: "127.0.0.1"}))


@pytest.mark.parametrize("host", ["evil.example.org", "localhost.example.org:8080", "localhost@evil.org", "",
                                  "10.0.0.1", "127.0.0.1.nip.io", "[::2]:80", "localhost evil", "localhost:80:80"])
def test_page_that_renames_this_machine_is_refused(tmp_path, host):
    """A foreign host name that resolves to loopback would make a foreign page ours."""
    with pytest.raises(NotAuthenticated, match="localhost only"):
        make_demo(tmp_path).identify(request({"host": host}))


def test_doubled_host_is_refused(tmp_path):
    """Which of two would have been checked?"""
    with pytest.raises(NotAuthenticated):
        make_demo(tmp_path).identify(request({"host": "localhost"}, duplicates=("host",)))


@pytest.mark.parametrize("headers", [{"user-agent": "Mozilla/5.0"}, {"origin": "http://evil"}, {"referer": "x"},
                                     {"sec-fetch-site": "none"}, {"user-agent": "curl/8", "origin": "null"}])
def test_what_may_be_a_browser_needs_the_defence_against_forged_pages(tmp_path, headers):
    """A page of another site can make the browser send requests to this machine."""
    assert make_demo(tmp_path).identify(request(headers)).via_browser is True


@pytest.mark.parametrize("agent", ["python-requests/2.31", "curl/8.5", ""])
def test_programs_on_this_machine_need_no_page_token(tmp_path, agent):
    """Existing clients and job wrappers work in a demonstration."""
    assert make_demo(tmp_path).identify(request({"user-agent": agent})).via_browser is False


@pytest.mark.parametrize(("listen", "level"), [
    ("127.0.0.1:8080", "ok"), ("localhost:0", "ok"), ("[::1]:8080", "ok"), ("127.5.5.5:1", "ok"),
    ("0.0.0.0:8080", "error"), ("[::]:8080", "error"), ("poms.example.org:80", "error"), ("10.0.0.1:80", "error"),
    ("", "error"), (":8080", "error"), ("localhost.example.org:80", "error"),
])
def test_demo_starts_on_loopback_only(tmp_path, listen, level):
    """On any other address everybody would be the demo user."""
    assert [result.level for result in make_demo(tmp_path).start_checks(listen)] == [level]


@pytest.mark.parametrize("user", ["", "a b", "a\nb", "../x", "a" * 65])
def test_demo_user_name_is_a_user_name(tmp_path, user):
    """The name becomes part of file names and batch attributes."""
    with pytest.raises(ConfigurationError, match="user"):
        make_demo(tmp_path, user)


def test_both_sources_are_chosen_by_name(tmp_path):
    """poms.ini lists them in the order in which they are asked."""
    text = "[identity]\nsources = proxy, demo\n[identity_demo]\nuser = visitor\n"
    settings = config.parse(text, directory=Path(tmp_path)).with_sections(
        [*proxy.poms_settings(), *demo.poms_settings()])
    offers = {offer.name: offer for offer in (*proxy.poms_identity_sources(), *demo.poms_identity_sources())}

    built = [offers[name].factory(PluginContext("", settings.plugin_section(offers[name].section), tmp_path, "", "",
                                                lambda: None, settings.secret)) for name in settings.identity.sources]

    assert built[0].identify(request()) is None
    assert built[1].identify(request()).username == "visitor"
    assert (settings.service.data_dir / "secrets" / "identity_proxy").exists()
