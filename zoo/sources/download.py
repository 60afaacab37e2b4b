"""Download a file from a web address, going on where a broken connection left off."""

import http.client
import json
import re
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from email.message import Message
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from zoo.errors import ZooError
from zoo.files import make_folder, share, write_json
from zoo.sources.base import Progress
from zoo.sources.expected import refuse_page, refuse_size

PAUSES = (0.5, 1.0, 2.0)
"""Seconds to wait before each further try; one that brings something starts them again."""
REACH = 4.0
"""Seconds in which a host has to take a connection."""
SILENCE = 30.0
"""Seconds without a byte after which a connection counts as broken."""

_CHUNK = 1 << 20
_BUSY = {408, 425, 429, 500, 502, 503, 504}


class _BrokenError(Exception):
    """What went wrong this time; another try may succeed."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Keeps a token from every host but the one that it was meant for."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Message,
        newurl: str,
    ) -> urllib.request.Request | None:
        there = super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]
        if there is not None and urlsplit(newurl)[:2] != urlsplit(req.full_url)[:2]:
            there.remove_header("Authorization")
        return there


def _proxies() -> dict[str, str]:
    """The proxies of the environment by scheme; urllib itself passes ``ALL_PROXY`` over."""
    found = urllib.request.getproxies()
    everything = found.get("all")
    return found if everything is None else {"http": everything, "https": everything, **found}


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(urllib.request.ProxyHandler(_proxies()), _Redirects)


def unreachable(url: str) -> str | None:
    """Why the host of a web address takes no connection, found out in seconds; None if it does.

    None as well if a proxy of the environment is to ask the host: it alone may know its name.
    """
    parts = urlsplit(url)
    if _proxies().get(parts.scheme) and not urllib.request.proxy_bypass(parts.netloc):
        return None
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        with socket.create_connection((parts.hostname or "", port), timeout=REACH):
            return None
    except (OSError, ValueError) as problem:
        return getattr(problem, "strerror", None) or str(problem)


def download(
    name: str,
    url: str,
    part: Path,
    *,
    size: int | None,
    progress: Progress | None,
    headers: Mapping[str, str] | None = None,
) -> None:
    """Get a file, in as many tries as make headway, and not more than three that make none.

    What has come when it is given up stays in ``part`` with a note beside it, for a later call to
    go on with; so does the whole file, in case the caller is killed before it is done with it.
    Nothing of it is trusted: the caller has to check the whole file, and then to `discard` it.

    Args:
        name: Of the model, for people.
        url: Where the file is.
        part: Where it goes.
        size: In bytes, if known.
        progress: Told how much is done and how much there is to do, in bytes; 0 if unknown.
        headers: Sent with each request. A token among them goes to the host of ``url`` only.

    Raises:
        ZooError: The file cannot be had, is a web page, or has another size.
        OSError: The disk is full; nothing is left of the file.
    """
    if not url.startswith(("https://", "http://")):
        raise ZooError(f"{name}: {url} is not a web address.")
    advice = "Get the file by other means: --from-file FILE or --mirror DIR."
    if reason := unreachable(url):
        raise ZooError(f"{name}: {url} cannot be reached ({reason}). {advice}")
    make_folder(part.parent)
    most, tries = 0, 0
    while True:
        try:
            _go_on(name, url, part, size, progress, headers or {})
        except _BrokenError as problem:
            got = part.stat().st_size if part.exists() else 0
            most, tries = (got, 0) if got > most else (most, tries + 1)
            if tries > len(PAUSES):
                kept = " The same command goes on from there." if _note(part).exists() else ""
                raise ZooError(f"{name}: {url} {problem}.{kept} {advice}") from problem
            time.sleep(PAUSES[max(tries - 1, 0)])
        except (ZooError, OSError):
            discard(part)
            raise
        else:
            return


def discard(part: Path) -> None:
    """Remove a download and the note beside it."""
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def _go_on(
    name: str,
    url: str,
    part: Path,
    size: int | None,
    progress: Progress | None,
    wanted: Mapping[str, str],
) -> None:
    """One connection: get what is missing of a file, or all of it.

    Raises:
        _BrokenError: Not everything came.
    """
    validator = _resumable(part, url)
    have = part.stat().st_size if validator else 0
    headers = {**wanted, "Accept-Encoding": "identity"}
    if have and validator:
        headers |= {"Range": f"bytes={have}-", "If-Range": validator}
    try:
        response = _opener().open(urllib.request.Request(url, headers=headers), timeout=SILENCE)
    except urllib.error.HTTPError as problem:
        with problem:
            if problem.code == 416:
                if have and _length(problem.headers) == have:
                    return  # all of it had come before, but whoever wanted it was killed
                discard(part)  # of a file that is shorter now
            elif problem.code not in _BUSY:
                raise ZooError(
                    f"{name}: {url} answered {problem.code} {problem.reason}. Get the file by "
                    "other means: --from-file FILE or --mirror DIR."
                ) from problem
            raise _BrokenError(f"answered {problem.code} {problem.reason}") from problem
    except (OSError, ValueError, http.client.HTTPException) as problem:
        raise _BrokenError(
            f"cannot be reached ({getattr(problem, 'reason', problem)})"
        ) from problem
    with response:
        if response.status != 206 or _begin(response.headers) != have:
            have = 0
            discard(part)
        rest = response.headers.get("Content-Length")
        total = have + int(rest) if rest and rest.isdecimal() else None
        with part.open("ab") as file:
            share(part)
            if file.tell() != have:
                raise _BrokenError("was removed here meanwhile")
            if have == 0:
                _write_note(part, url, response.headers)
            for chunk in _chunks(response):
                if have == 0:
                    refuse_page(chunk, url)
                    if total is not None:
                        refuse_size(total, size, name, url)
                have += len(chunk)
                if size is not None and have > size:
                    refuse_size(have, size, name, url)
                file.write(chunk)
                if progress is not None:
                    progress(have, total or size or 0)
    if total is not None and have < total:
        raise _BrokenError(f"broke off after {have} of {total} bytes")


def _chunks(response: IO[bytes]) -> Iterator[bytes]:
    """What comes, as it comes; problems of the network are told apart from those of the disk."""
    while True:
        try:
            chunk = response.read1(_CHUNK)  # type: ignore[attr-defined]
        except (OSError, http.client.HTTPException) as problem:
            raise _BrokenError(f"broke off ({problem or type(problem).__name__})") from problem
        if not chunk:
            return
        yield chunk


def _length(headers: Message) -> int | None:
    """How long a file is of which a part was wanted that it does not have."""
    found = re.fullmatch(r"bytes \*/(\d+)", headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _begin(headers: Message) -> int | None:
    """Where a part of a file begins, by its ``Content-Range``."""
    found = re.match(r"bytes (\d+)-", headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _write_note(part: Path, url: str, headers: Message) -> None:
    """Note what it takes to go on later, if the host tells versions of the file apart."""
    etag = headers.get("ETag", "")
    # A weak tag is the same for files of equal meaning; only equal bytes can be gone on with.
    validator = etag if etag.startswith('"') else headers.get("Last-Modified")
    if validator:
        write_json(_note(part), {"url": url, "validator": validator})


def _resumable(part: Path, url: str) -> str | None:
    """The version of the file that ``part`` is the beginning of; else it is removed."""
    try:
        note = json.loads(_note(part).read_text(encoding="utf-8"))
        if part.exists() and note["url"] == url and note["validator"].isprintable():
            return note["validator"]
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        pass
    discard(part)
    return None
