"""A hub in a thread of the test's process, with the few addresses that its library asks."""

import base64
import hashlib
import http.server
import json
import re
import threading
import urllib.parse
from contextlib import contextmanager

from repository import ROOT

TOKEN = "hf_of_me"


class Hub:
    """Repositories in memory, and what was asked. Only the user `me`, with the token, may write."""

    def __init__(self):
        self.repos = {}  # id -> {name: content}
        self.private = set()
        self.asked = []  # "GET /path", in order; not what the library asks about itself
        self.commits = []  # names of the files of each
        self.cut_at = None  # bytes after which a download breaks off, every time
        self.refuse = {}  # the beginning of a path -> a status, or "cut"

    def wrote(self):
        return [one for one in self.asked if one.startswith("POST")]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_):
        pass

    def answer(self, status, content=b"", **headers):
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": len(content), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def missing(self, what):
        status = 401 if what == "RepoNotFound" and not self.is_me() else 404
        self.answer(status, {"error": what}, X_Error_Code=what)

    def is_me(self):
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def refused(self):
        path = self.path.split("?")[0]
        if not path.startswith("/api/") or re.match("/api/(repos|models|validate-yaml)", path):
            self.hub.asked.append(f"{self.command} {path}")
        length = int(self.headers.get("Content-Length") or 0)
        self.sent = self.rfile.read(length)
        for start, status in self.hub.refuse.items():
            if path.startswith(start):
                if status == "cut":
                    self.close_connection = True
                else:
                    self.answer(status, {"error": "not today"})
                return True
        return False

    def do_POST(self):
        if self.refused():
            return
        if self.path == "/api/validate-yaml":
            self.answer(200, {"errors": [], "warnings": []})
        elif not self.is_me():
            self.answer(401, {"error": "Invalid username or password."})
        elif self.path == "/api/repos/create":
            self.create(json.loads(self.sent))
        else:
            found = re.fullmatch(r"/api/models/(.+/.+)/(preupload|commit)/main", self.path)
            {"preupload": self.preupload, "commit": self.commit}[found[2]](found[1])

    def create(self, wanted):
        repo = f"{wanted['organization']}/{wanted['name']}"
        if wanted["organization"] != "me":
            self.answer(403, {"error": "not yours"})
        elif repo in self.hub.repos:
            self.answer(409, {"error": "You already created this model repo"})
        else:
            self.hub.repos[repo] = {".gitattributes": b""}
            if wanted.get("private") or wanted.get("visibility") == "private":
                self.hub.private.add(repo)
            self.answer(200, {"url": f"http://{self.headers['Host']}/{repo}"})

    def preupload(self, repo):
        names = [file["path"] for file in json.loads(self.sent)["files"]]
        modes = [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]
        self.answer(200, {"files": modes})

    def commit(self, repo):
        lines = [json.loads(line) for line in self.sent.splitlines()]
        files = [line["value"] for line in lines if line["key"] == "file"]
        for file in files:
            self.hub.repos[repo][file["path"]] = base64.b64decode(file["content"])
        self.hub.commits.append(sorted(file["path"] for file in files))
        address = f"http://{self.headers['Host']}/{repo}/commit/{self.revision(repo)}"
        self.answer(200, {"commitOid": self.revision(repo), "commitUrl": address})

    def revision(self, repo):
        return hashlib.sha1(repr(sorted(self.hub.repos[repo].items())).encode()).hexdigest()

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        if self.refused():
            return
        path = urllib.parse.unquote(self.path.split("?")[0])
        found = re.fullmatch(r"(?:/api/models)?/([^/]+/[^/]+)(?:/resolve/main/(.+))?", path)
        if found is None:
            self.answer(404)
            return
        repo, name = found[1], found[2]
        if repo not in self.hub.repos or (repo in self.hub.private and not self.is_me()):
            self.missing("RepoNotFound")
        elif name is None:
            siblings = [{"rfilename": one} for one in self.hub.repos[repo]]
            private = repo in self.hub.private
            self.answer(200, {"id": repo, "private": private, "siblings": siblings})
        elif name not in self.hub.repos[repo]:
            self.missing("EntryNotFound")
        else:
            self.download(repo, self.hub.repos[repo][name])

    def download(self, repo, content):
        start = re.match(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(start[1]) if start else 0
        etag = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        about = {"ETag": f'"{etag}"', "X_Repo_Commit": self.revision(repo)}
        if start:
            about["Content_Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if self.hub.cut_at is None or self.command == "HEAD":
            self.answer(206 if start else 200, content[start:], **about)
            return
        self.close_connection = True  # all was promised, and less comes
        about["Content_Length"] = len(content) - start
        self.answer(206 if start else 200, content[start : self.hub.cut_at], **about)


@contextmanager
def served():
    """Run a hub; its address is `hub.address`."""
    hub = Hub()
    handler = type("OfThisHub", (Handler,), {"hub": hub})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    hub.address = f"http://127.0.0.1:{server.server_port}"

    def stop():
        server.shutdown()
        server.server_close()

    hub.stop = stop
    try:
        yield hub
    finally:
        stop()


def forget_connections():
    """Let the library make new ones: it keeps them, and some versions keep "offline" with them."""
    from huggingface_hub import utils

    forget = getattr(utils, "close_session", None) or utils._http.reset_sessions
    forget()


@contextmanager
def asked_here(folder, monkeypatch):
    """Run a hub that the library asks in this process, as `me`, with an empty cache."""
    from huggingface_hub import constants, file_download

    with served() as hub:
        hub.cache = folder / "cache"
        hub.cache.mkdir()
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, hub.address)
        for module in (constants, file_download):  # the older library has it in both
            monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(hub.cache))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "token"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setattr("time.sleep", lambda _: None)  # between two tries
        forget_connections()
        yield hub
    forget_connections()


def environment(hub, home):
    """What a process of its own needs to ask this hub and no other."""
    return {"HF_ENDPOINT": hub.address, "HF_HOME": str(home), "HF_TOKEN": TOKEN}


# A process of its own is kept from the network, too; that sets HF_HUB_OFFLINE, which must not be.
GUARD = ROOT / "book" / "_tools" / "_offline" / "sitecustomize.py"
GUARDED = f"""
import importlib.util, os, sys
spec = importlib.util.spec_from_file_location("guard", {str(GUARD)!r})
guard = importlib.util.module_from_spec(spec)
spec.loader.exec_module(guard)
guard.block()
os.environ["HF_HUB_OFFLINE"] = "0"
from clipnotes.cli import app
app(sys.argv[1:], prog_name="clipnotes")
"""
