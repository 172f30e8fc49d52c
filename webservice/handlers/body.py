"""Read forms and uploads within limits; whatever cannot be read is the sender's mistake, never ours."""

from __future__ import annotations

import io
from typing import Any

import cherrypy
from cherrypy import _cpreqbody

from poms.webservice.errors import Invalid
from poms.webservice.handlers.failures import TooLarge
from poms.webservice.handlers.params import Upload

FORM_BYTES = 1_000_000
MOST_PARTS = 2000


class _Part(_cpreqbody.Part):
    """A part of an upload, kept in memory: the whole body is bounded, and no files are left behind."""

    content = b""

    def default_proc(self) -> None:
        request = cherrypy.serving.request
        request.poms_parts = getattr(request, "poms_parts", 0) + 1
        if request.poms_parts > MOST_PARTS:
            raise TooLarge(f"A form may have {MOST_PARTS} fields at most.")
        kept = io.BytesIO()
        self.read_lines_to_boundary(fp_out=kept)
        self.content = kept.getvalue()

    def fullvalue(self) -> str:
        return self.content.decode("utf-8")


def read_form(request: Any, *, upload_bytes: int) -> dict[str, Any]:
    """The fields of the body: texts, lists of texts, and uploads. Raises Invalid, TooLarge."""
    headers = request.headers
    if "Content-Length" not in headers and "Transfer-Encoding" not in headers:
        return {}
    kind = headers.get("Content-Type", "").split(";")[0].strip().lower()
    limit = upload_bytes if kind.startswith("multipart/") else min(FORM_BYTES, upload_bytes)
    _refuse_length(headers.get("Content-Length"), limit)
    if kind not in ("", "application/x-www-form-urlencoded", "multipart/form-data"):
        raise Invalid(f"POMS reads forms and uploads, not {kind[:60]}.", field="Content-Type")
    body = request.body
    body.maxbytes, body.part_class = limit, _Part
    try:
        body.process()
    except cherrypy.HTTPError as error:
        if error.code == 413:
            raise TooLarge(f"At most {limit:,} bytes can be sent here.") from None
        raise Invalid(f"The form cannot be read: {error._message}") from None
    except (ValueError, EOFError, LookupError, AttributeError, TypeError) as error:
        # The parser says so in many ways; what was sent is no form.
        raise Invalid(f"The form cannot be read: {error}") from None
    return {name: _value(value) for name, value in body.params.items()}


def _refuse_length(said: str | None, limit: int) -> None:
    if said is None:
        return
    if not said.isdigit():
        raise Invalid("The length of the request is no number.", field="Content-Length")
    if int(said) > limit:
        raise TooLarge(f"At most {limit:,} bytes can be sent here.")


def _value(sent: Any) -> Any:
    if isinstance(sent, list):
        return [_value(one) for one in sent]
    if isinstance(sent, _cpreqbody.Part):
        return Upload(str(sent.filename or ""), sent.content)
    return sent
