"""Web servers of this machine that misbehave on request: for plain files, and as the Hub does."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

PAGE = b"<!DOCTYPE html><html><title>Sign in</title></html>"


@dataclass
class Answer:
    """How one request for a file is answered.

    Attributes:
        status: Answer with this and no file.
        code: What the Hub calls the problem.
        cut: Hang up after so many bytes of the body.
        change: What is sent instead of the file.
        delay: Seconds before anything is sent.
        ranges: Whether a wish for a part of the file is heard.
        location: Send on to this address.
    """

    status: int | None = None
    code: str | None = None
    cut: int | None = None
    change: Callable[[bytes], bytes] | None = None
    delay: float = 0.0
    ranges: bool = True
    location: str | None = None


@dataclass
class Asked:
    method: str
    path: str
    range: str | None
    token: str | None


@dataclass
class Site:
    """Files by path, and what to do to the next requests for them.

    Attributes:
        files: Content by path.
        answers: For each path the answers to the next requests; afterwards it is well-behaved.
        always: For each path the answer to every request.
        validators: Whether versions of a file are told apart: an ETag is sent.
        asked: Every request so far.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    always: dict[str, Answer] = field(default_factory=dict)
    validators: bool = True
    asked: list[Asked] = field(default_factory=list)
    url: str = ""

    def gets(self, path: str) -> list[str | None]:
        """The ``Range`` of every GET of a path."""
        return [a.range for a in self.asked if (a.method, a.path) == ("GET", path)]

    def answer(self, path: str) -> Answer:
        queue = self.answers.get(path)
        return queue.pop(0) if queue else self.always.get(path, Answer())

    def respond(self, handler: "Handler", path: str, query: dict[str, list[str]]) -> None:
        if path in self.files:
            handler.send_file(self.files[path], self.answer(path), {})
        else:
            handler.send_text(404, b"no such file")


@dataclass
class Repo:
    """A repository of the Hub: its commits, oldest first, each with all files.

    Attributes:
        etag: Told of every file instead of its hash.
    """

    commits: dict[str, dict[str, bytes]]
    gated: bool | str = False
    private: bool = False
    card: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    small: tuple[str, ...] = ("config.json", "README.md")
    etag: str | None = None

    @property
    def main(self) -> str:
        return list(self.commits)[-1]


TOKEN = "hf_sesame"


@dataclass
class Hub(Site):
    """A Hub with repositories; ``TOKEN`` opens those that are private or gated."""

    repos: dict[str, Repo] = field(default_factory=dict)

    def respond(self, handler: "Handler", path: str, query: dict[str, list[str]]) -> None:
        parts = [unquote(part) for part in path.strip("/").split("/")]
        if path == "/api/models":
            self._list(handler, query)
        elif parts[:2] == ["api", "models"]:
            revision = parts[5] if parts[4:5] == ["revision"] else None
            self._info(handler, path, "/".join(parts[2:4]), revision)
        elif parts[2:3] == ["resolve"]:
            self._file(handler, path, "/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        else:
            handler.send_text(404, b"")

    def _repo(self, handler: "Handler", name: str, *, file: bool) -> Repo | None:
        repo = self.repos.get(name)
        known = handler.headers.get("Authorization") == f"Bearer {TOKEN}"
        if repo is None or (repo.private and not known):
            handler.send_text(401, b"", {"X-Error-Code": "RepoNotFound"})
        elif file and repo.gated and not known:
            handler.send_text(403, b"", {"X-Error-Code": "GatedRepo"})
        else:
            return repo
        return None

    def _info(self, handler: "Handler", path: str, name: str, revision: str | None) -> None:
        answer = self.answer(path)
        if answer.status is not None or answer.change is not None or answer.delay:
            handler.send_file(b"{}", answer, {})
            return
        repo = self._repo(handler, name, file=False)
        if repo is None:
            return
        commit = repo.main if revision in (None, "main") else revision
        if commit not in repo.commits:
            handler.send_text(404, b"", {"X-Error-Code": "RevisionNotFound"})
            return
        files = []
        for file, content in repo.commits[commit].items():
            sibling: dict[str, Any] = {"rfilename": file, "size": len(content)}
            sibling["blobId"] = git_sha1(content)
            if file not in repo.small:
                sha256 = hashlib.sha256(content).hexdigest()
                sibling["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 134}
            files.append(sibling)
        facts = {"id": name, "sha": commit, "gated": repo.gated, "siblings": files, **repo.facts}
        handler.send_text(200, json.dumps(facts).encode())

    def _file(self, handler: "Handler", path: str, name: str, revision: str, file: str) -> None:
        repo = self._repo(handler, name, file=True)
        if repo is None:
            return
        commit = repo.main if revision == "main" else revision
        if commit not in repo.commits:
            handler.send_text(404, b"", {"X-Error-Code": "RevisionNotFound"})
            return
        if file not in repo.commits[commit]:
            handler.send_text(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
            return
        content = repo.commits[commit][file]
        lfs = file not in repo.small
        etag = repo.etag or (hashlib.sha256(content).hexdigest() if lfs else git_sha1(content))
        asking = handler.command == "HEAD"  # which takes no answer from those to come
        answer = self.always.get(path, Answer()) if asking else self.answer(path)
        handler.send_file(content, answer, {"X-Repo-Commit": commit, "ETag": f'"{etag}"'})

    def _list(self, handler: "Handler", query: dict[str, list[str]]) -> None:
        answer = self.answer("/api/models")
        if answer.status is not None or answer.change is not None:
            handler.send_file(b"[]", answer, {})
            return
        found = []
        for name, repo in self.repos.items():
            if query.get("search", [""])[0].lower() not in name.lower():
                continue
            found.append({"id": name, "sha": repo.main, "gated": repo.gated, **repo.facts})
            if "cardData" in query:
                found[-1]["cardData"] = repo.card
        begin, limit = int(query.get("at", ["0"])[0]), int(query.get("limit", ["1000"])[0])
        page = min(limit, 2)  # so that whoever wants more has to turn pages
        headers = {}
        if begin + page < len(found):
            rest = "&".join(f"{k}={v[0]}" for k, v in query.items() if k != "at")
            headers["Link"] = f'<{self.url}/api/models?{rest}&at={begin + page}>; rel="next"'
        handler.send_text(200, json.dumps(found[begin : begin + page]).encode(), headers)


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0%b" % (len(content), content)).hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def site(self) -> Site:
        return self.server.site  # type: ignore[attr-defined]

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        token = self.headers.get("Authorization")
        self.site.asked.append(Asked(self.command, parts.path, self.headers.get("Range"), token))
        self.site.respond(self, parts.path, parse_qs(parts.query))

    do_HEAD = do_GET  # noqa: N815

    def send_text(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_file(self, content: bytes, answer: Answer, headers: dict[str, str]) -> None:
        time.sleep(answer.delay)
        if answer.status is not None:
            code = {"X-Error-Code": answer.code} if answer.code else {}
            self.send_text(answer.status, b"", code)
            return
        if answer.location is not None:
            self.send_text(302, b"", {"Location": answer.location})
            return
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        if self.site.validators:
            headers = {"ETag": etag, **headers}
        sent = answer.change(content) if answer.change else content
        begin = 0
        wanted = self.headers.get("Range")
        same = self.headers.get("If-Range") in (None, headers.get("ETag"))
        if wanted and answer.ranges and same:
            begin = int(wanted.removeprefix("bytes=").split("-")[0])
            if begin >= len(sent):
                self.send_text(416, b"", {"Content-Range": f"bytes */{len(sent)}"})
                return
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(sent) - 1}/{len(sent)}")
        self.send_header("Content-Length", str(len(sent) - begin))
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        body = sent[begin:]
        if answer.cut is not None:
            self.wfile.write(body[: answer.cut])
            self.wfile.flush()
            self.close_connection = True
        else:
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def handle(self) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # the client has heard enough
            super().handle()


@contextmanager
def running(site: Site) -> Iterator[Site]:
    """Serve a site until the end of the block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.site = site  # type: ignore[attr-defined]
    site.url = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
