"""Arguments, forms and uploads that nobody should send: refused with a reason, never an internal error."""

from __future__ import annotations

import io
from wsgiref.util import setup_testing_defaults

import pytest

from poms.webservice import app
from poms.webservice.errors import Invalid
from poms.webservice.handlers import params
from poms.webservice.handlers.routing import Router

ROUTES = Router(app.ROUTES).routes
IDS = ["0", "-1", "1e3", "1.5", "١٢", "0x10", "99999999999999999999", "2147483648", "1;drop table x",
       "' or 1=1", "1\x00", "NaN", "true", "[1]", "1 2", "\u202e1", "$(id)", "../1", "1,2"]
TEXTS = ["'", '"', "\\", "%", "_", "a\x00b", "\x1b[31m", "\n", "$(touch /tmp/x)", "`id`", "; ls", "|", "<script>",
         "\ud7ff", "\U0010ffff", "x" * 5000, "{{7*7}}", "%(name)s", "%s%n", "../../etc/passwd", "\u2028"]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_hostile_arguments_are_no_internal_error(site, owner, items, route):
    """Every argument of every route, with every hostile value, one at a time."""
    person = site.program(owner)
    good = {name: str(number) for name, number in items.ids.items() if name in route.arguments}
    for name in route.arguments:
        for value in (IDS if name in good else TEXTS):
            fields = {**good, name: value}
            answer = person.post(route.name, fields)
            assert answer.status_int < 500, (name, value, answer.text[:500])


@pytest.mark.parametrize("segment", ["%00", "%0a", "..", "%2e%2e", "%252e", "a%20b", "%f0%9f%90%99", "'", "1" * 3000])
def test_hostile_paths_are_no_internal_error(site, owner, segment):
    """In every place of an address."""
    person = site.program(owner)
    for address in (f"/poms/{segment}", f"/poms/stage/{segment}/production/1", f"/poms/stage/samdev/{segment}/1",
                    f"/poms/stage/samdev/production/{segment}", f"/poms/static/{segment}"):
        answer = person.client.get(address, headers=person.headers(), status="*")
        assert 300 <= answer.status_int < 500, address


@pytest.mark.parametrize("value", IDS[:-1])
def test_what_is_no_number_is_no_id(value):
    """Neither other people's digits nor anything that Python would also take."""
    with pytest.raises(Invalid):
        params.read_all({"id": params.number(required=True)}, {"id": value})


def test_every_problem_with_the_arguments_is_told_at_once():
    """Nobody has to try three times."""
    with pytest.raises(Invalid) as caught:
        params.read_all({"a": params.number(required=True), "b": params.choice("x", "y"), "c": params.real()},
                        {"b": "z", "c": "many"})

    assert [problem.field for problem in caught.value.problems] == ["a", "b", "c"]


@pytest.mark.parametrize(("sent", "meant"), [
    ("", None), ("None", None), (" 7 ", 7), (["7", "7"], 7), ("7", 7),
])
def test_older_spellings_of_an_id_are_understood(sent, meant):
    """Empty and None are absent; a proxy may double a field."""
    assert params.read_all({"id": params.number()}, {"id": sent}) == {"id": meant}


def test_a_field_with_two_values_is_ambiguous():
    """Neither the first nor the last is taken."""
    with pytest.raises(Invalid, match="more than once"):
        params.read_all({"id": params.number()}, {"id": ["7", "8"]})


@pytest.mark.parametrize(("sent", "meant"), [
    ("1,2,2", (1, 2)), (["1", "2"], (1, 2)), (["1,3", "2"], (1, 3, 2)), ("", ()), (None, ()),
])
def test_several_ids_come_as_a_list_or_as_fields(sent, meant):
    """Both ways of older pages."""
    assert params.read_all({"ids": params.numbers()}, {"ids": sent}) == {"ids": meant}


@pytest.mark.parametrize(("sent", "meant"), [
    ("", False), ("False", False), ("0", False), ("True", True), ("1", True), ("yes", True), ("sbnd", False)])
def test_a_test_launch_is_asked_for_by_a_word_for_yes(sent, meant):
    """A deprecated function of the client sends the experiment in this field, and means no test."""
    assert params.read_all({"test": params.loose_flag()}, {"test": sent}) == {"test": meant}


# --------------------------------------------------------------------------------------- bodies


def send(person, body: bytes, kind: str, **headers: str):
    return person.client.post(person.address("upload"), body, status="*",
                              headers=person.headers({"Content-Type": kind, **headers}))


def test_an_upload_beyond_the_limit_is_refused(site, owner):
    """Before it is looked at; the limit of this service is 200,000 bytes."""
    answer = site.program(owner).post("upload", files=[("campaign_file", "big.ini", b"x" * 300_000)])

    assert answer.status_int == 413
    assert "200,000 bytes" in answer.text


def test_a_form_with_thousands_of_files_is_refused(site, owner):
    """Many small parts cost more than one large one."""
    parts = b"".join(b'--b\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\nx\r\n' for _ in range(2500))

    assert send(site.program(owner), parts + b"--b--\r\n", "multipart/form-data; boundary=b").status_int == 413


@pytest.mark.parametrize(("body", "kind"), [
    (b"--b\r\nnonsense", "multipart/form-data; boundary=b"),
    (b"x", "multipart/form-data"),
    (b"x", "multipart/form-data; boundary="),
    (b"x", "multipart/form-data; boundary=" + "b" * 300),
    (b"--b\r\n\r\n\r\n--b--", "multipart/form-data; boundary=b"),
    (b"--b\r\nContent-Disposition: form-data; name=\"dry_run\"\r\n\r\n\xff\xfe\r\n--b--\r\n",
     "multipart/form-data; boundary=b"),
    (b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n"
     b"Content-Disposition: form-data; name=\"campaign_text\"\r\n\r\n--c\r\n\r\nx\r\n--c--\r\n--b--\r\n",
     "multipart/form-data; boundary=b"),
    (b"campaign_text=%ff%fe", "application/x-www-form-urlencoded"),
    (b"campaign_text=x", "application/x-www-form-urlencoded; charset=nonsense"),
    (b"{}", "application/json"),
    (b"<x/>", "text/xml"),
])
def test_a_body_that_cannot_be_read_is_the_senders_mistake(site, owner, body, kind):
    """Whatever the parser thinks of it."""
    assert send(site.program(owner), body, kind).status_int == 400


@pytest.mark.parametrize("length", ["-1", "nonsense", "1e3", "99999999999", "\u0663"])
def test_a_length_that_is_none_is_refused(site, owner, length):
    """Neither negative nor beyond the limit; some servers pass on whatever they get."""
    identity = {f"HTTP_{name.upper().replace('-', '_')}": value
                for name, value in site.identity(owner.username, "certificate").items()}
    environ = {"REQUEST_METHOD": "POST", "PATH_INFO": "/poms/upload", "REMOTE_ADDR": "127.0.0.1",
               "CONTENT_TYPE": "application/x-www-form-urlencoded", "CONTENT_LENGTH": length,
               "wsgi.input": io.BytesIO(b"x=1"), **identity}
    setup_testing_defaults(environ)
    seen = []

    list(site.wsgi(environ, lambda *answer: seen.append(answer)))

    assert seen[0][0][:3] in ("400", "413")


def test_a_file_where_a_number_is_expected_is_refused(site, owner):
    """A form decides what its fields are, not the sender."""
    answer = site.program(owner).post("upload", files=[("campaign_id", "1", b"1")])

    assert answer.status_int == 400


def test_the_name_of_an_upload_is_only_shown(site, owner):
    """It never forms a path, and is escaped like any other text."""
    answer = site.browser(owner).post("upload", {"dry_run": "1"}, files=[
        ("campaign_file", '../../<svg onload=1>.ini', b"[campaign]\n")])

    assert answer.status_int == 400
    assert "<svg onload" not in answer.text
