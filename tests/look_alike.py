"""A small look-alike of the hub on localhost: what huggingface_hub asks of it, over folders of files.

Faults can be ordered: a connection that breaks in the middle, other bytes than were listed, a file that is
listed but gone. `log` keeps each request for a file: (path, first byte asked for).
"""

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = (".safetensors", ".bin", ".pt", ".onnx", ".ckpt")  # kept by the hub with a SHA-256, as LFS files
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class LookAlike:
    """`with LookAlike(folder) as hub:` serves folder/owner/name/... at hub.url."""

    def __init__(self, folder: Path, licences: dict[str, str] | None = None) -> None:
        self.folder, self.licences = folder, licences or {}
        self.breaks: dict[str, int] = {}  # path -> bytes after which the connection breaks, once each
        self.wrong: set[str] = set()  # paths whose bytes are not those that were listed
        self.gone: set[str] = set()  # paths that are listed and not there
        self.log: list[tuple[str, int]] = []

    def __enter__(self) -> "LookAlike":
        handler = type("Handler", (_Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def files(self, repo: str) -> list[dict]:
        root = self.folder / repo
        return [_listed(root, path) for path in sorted(root.rglob("*")) if path.is_file()]


def ask(monkeypatch, hub: LookAlike, cache: Path) -> None:
    """Let huggingface_hub of this process ask `hub`, and keep what comes below `cache`."""
    from huggingface_hub import constants, file_download

    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    for module in (constants, file_download):  # the second is where 0.36 reads it
        monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100_000)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)


def _listed(root: Path, path: Path) -> dict:
    data = path.read_bytes()
    git = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    large = path.suffix in LARGE
    sha256 = hashlib.sha256(data).hexdigest() if large else None
    return {"name": path.relative_to(root).as_posix(), "size": len(data), "git": git, "sha256": sha256}


class _Handler(BaseHTTPRequestHandler):
    hub: LookAlike
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        url = urlsplit(self.path)
        path = unquote(url.path).strip("/")
        if match := re.fullmatch(r"api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", path):
            return self.info(match[1], match[2])
        if match := re.fullmatch(r"api/models/([^/]+/[^/]+)/tree/([^/]+)(/.*)?", path):
            return self.tree(match[1], parse_qs(url.query))
        if match := re.fullmatch(r"([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self.resolve(match[1], match[3], body)
        if match := re.fullmatch(r"elsewhere/([^/]+/[^/]+)/(.+)", path):
            return self.file(match[1], match[2], body)
        return self.missing("EntryNotFound")

    def info(self, repo: str, revision: str | None) -> None:
        if not (self.hub.folder / repo).is_dir():
            return self.missing("RepoNotFound")
        if revision not in (None, "main", COMMIT):
            return self.missing("RevisionNotFound")
        siblings = [
            {"rfilename": f["name"], "size": f["size"], "blobId": f["git"]}
            | ({"lfs": {"sha256": f["sha256"], "size": f["size"], "pointerSize": 130}} if f["sha256"] else {})
            for f in self.hub.files(repo)
        ]
        licence = self.hub.licences.get(repo)
        card = {"cardData": {"license": licence}} if licence else {}
        about = {"_id": "0", "id": repo, "modelId": repo, "sha": COMMIT, "private": False, "tags": []}
        return self.json({**about, "downloads": 0, "likes": 0, "siblings": siblings, **card})

    def tree(self, repo: str, query: dict) -> None:
        if not (self.hub.folder / repo).is_dir():
            return self.missing("RepoNotFound")
        entries = [
            {"type": "file", "path": f["name"], "size": f["size"], "oid": f["git"]}
            | ({"lfs": {"oid": f["sha256"], "size": f["size"], "pointerSize": 130}} if f["sha256"] else {})
            for f in self.hub.files(repo)
        ]
        return self.json(entries)

    def resolve(self, repo: str, name: str, body: bool) -> None:
        """A small file itself; of a large one where it is, as the hub sends one to its storage."""
        path, key = self.hub.folder / repo / name, f"{repo}/{name}"
        if not path.is_file() or key in self.hub.gone:
            self.missing("EntryNotFound")
        elif path.suffix not in LARGE:
            self.file(repo, name, body)
        else:
            listed = _listed(self.hub.folder / repo, path)
            self.send_response(302)
            self.send_header("Location", f"{self.hub.url}/elsewhere/{repo}/{name}")
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("X-Linked-Etag", f'"{listed["sha256"]}"')
            self.send_header("X-Linked-Size", str(listed["size"]))
            self.send_header("Content-Length", "0")
            self.end_headers()

    def file(self, repo: str, name: str, body: bool) -> None:
        path, key = self.hub.folder / repo / name, f"{repo}/{name}"
        listed, data = _listed(self.hub.folder / repo, path), path.read_bytes()
        if key in self.hub.wrong:
            data = bytes(len(data))
        start = int(re.sub(r"\D", "", self.headers.get("Range", "").split("-")[0]) or 0)
        if body:
            self.hub.log.append((key, start))
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{listed["sha256"] or listed["git"]}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if not body:
            return
        cut = self.hub.breaks.pop(key, None)
        if cut is None:
            self.wfile.write(data[start:])
        else:
            self.wfile.write(data[start : start + cut])
            self.close_connection = True

    def json(self, value: object) -> None:
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def missing(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", code)
        self.send_header("Content-Length", "0")
        self.end_headers()
