"""Files that people keep with the service, as clients upload, list, read and delete them."""

from __future__ import annotations

from poms.webservice.errors import Conflict, Invalid, NotFound, Problem
from poms.webservice.handlers.answers import Answer, Call, Data, Done, Elsewhere, Page, Stored, Text
from poms.webservice.handlers.params import flag, text, texts, upload
from poms.webservice.handlers.routing import Need, Routes
from poms.webservice.services import uploads
from poms.webservice.services.pages import uploads as upload_pages

routes = Routes()
OWN = Need("create", "experiment")
FILE = text(required=True, limit=300)
USER = text(limit=100)


def _require_own(call: Call) -> None:
    """Nobody sees, or learns of, what somebody else keeps."""
    if call["user"] and call["user"] != call.actor.username:
        raise NotFound(f"You are not {call['user']}; files are shown to their owner only.")


@routes.page("file_uploads", "file_uploads.html", permission=OWN, path=("user",),
             arguments={"user": USER, "sort": text("name", limit=40)}, renames={"checkuser": "user"})
def file_uploads(call: Call) -> Answer:
    """The files that you keep in this experiment, how much room they take and which stages name them."""
    _require_own(call)
    if call.wants == "html":
        return Page({**upload_pages.uploads_page(call.core, call.actor, call.url, sort=call["sort"]),
                     "problems": []})
    return file_uploads_json(call)


@routes.answer("file_uploads_json", permission=OWN, path=("user",), arguments={"user": USER},
               renames={"checkuser": "user"})
def file_uploads_json(call: Call) -> Answer:
    """The same for programs: name, size and time of each, and the quota."""
    _require_own(call)
    found = uploads.list_files(call.core, call.actor)
    return Data({"file_stat_list": [[file.name, file.size_bytes, f"{file.changed_at:%Y-%m-%dT%H:%M:%SZ}"]
                                    for file in found],
                 "total": sum(file.size_bytes for file in found), "quota": uploads.QUOTA_BYTES})


@routes.change("upload_file", template="file_uploads.html", permission=OWN,
               arguments={"filename": upload(required=True)})
def upload_file(call: Call) -> Answer:
    """Keep a file here, in place of an older one of the same name."""
    sent = call["filename"]
    try:
        if not sent.name:
            raise Invalid("Choose a file.", field="filename")
        uploads.store(call.core, call.actor, sent.name, sent.data)
    except (Invalid, Conflict) as wrong:
        if call.wants != "html" or not call.identity.via_browser:
            raise
        problems = wrong.problems if isinstance(wrong, Invalid) else (Problem("", str(wrong)),)
        return Page({**upload_pages.uploads_page(call.core, call.actor, call.url), "problems": list(problems)},
                    status=400 if isinstance(wrong, Invalid) else 409)
    return _listed(call, f"{uploads.stored_name(sent.name)} is kept")


@routes.answer("download_file", permission=OWN, arguments={"filename": FILE})
def download_file(call: Call) -> Answer:
    """What a file of yours holds: a text as text, anything else byte for byte."""
    data = uploads.read(call.core, call.actor, call["filename"])
    try:
        return Text(data.decode("utf-8"), file_name=call["filename"])
    except UnicodeDecodeError:
        return Stored(data, call["filename"])


@routes.change("remove_uploaded_files", permission=OWN, arguments={
    "filename": texts(required=True), "redirect": flag(default=True), "user": USER})
def remove_uploaded_files(call: Call) -> Answer:
    """Delete files of yours."""
    _require_own(call)
    count = uploads.delete(call.core, call.actor, list(call["filename"]))
    return _listed(call, f"{count} file{'' if count == 1 else 's'} deleted") if call["redirect"] else Text("Ok.")


def _listed(call: Call, title: str) -> Answer:
    """Back to the list. Programs know the redirect, people are told what was done."""
    home = call.url("file_uploads", user=call.actor.username)
    return Done(home, title) if call.identity.via_browser and call.wants == "html" else Elsewhere(home)
