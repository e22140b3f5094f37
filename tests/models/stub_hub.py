"""A hub of models and data sets on this machine alone: as much of its interface as its client uses to read."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_sesame"
REVISION = "0123456789abcdef0123456789abcdef01234567"


def _listing(folder: Path) -> list[dict]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return [
        {
            "type": "file",
            "path": path.relative_to(folder).as_posix(),
            "size": path.stat().st_size,
            "oid": hashlib.sha1(path.read_bytes()).hexdigest(),
        }
        for path in files
    ]


@contextmanager
def stub_hub(
    models: dict[str, Path], data_sets: dict[str, Path], pushed: dict[str, object] | None = None
) -> Iterator[tuple[str, list[str]]]:
    """Serve folders under their ids; yields the address, and the paths that are asked for.

    Args:
        pushed: takes the files of the one repository that can be written to, with `TOKEN`; None where none can.
    """
    asked: list[str] = []

    class Hub(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Nothing on standard error."""

        def _send(self, body: bytes, status: int = 200, **headers: str) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def _json(self, value: object) -> None:
            self._send(json.dumps(value).encode(), Content_Type="application/json")

        def _repository(self, path: str) -> tuple[str, Path, str] | None:
            """Id, folder and the rest of a path behind `models/` or `datasets/`."""
            kind, _, rest = path.partition("/")
            for name, folder in (data_sets if kind == "datasets" else models).items():
                if rest == name or rest.startswith(f"{name}/"):
                    return name, folder, rest.removeprefix(name).strip("/")
            return None

        def _answer(self) -> None:
            path = unquote(urlsplit(self.path).path).strip("/")
            asked.append(f"{self.command} {path}")
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            interface = path.startswith("api/")
            if pushed is not None and interface:
                if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                    return self._send(b"{}", 401)
                if (answer := self._written(path.removeprefix("api/"), body)) is not None:
                    return self._json(answer)
            path = path.removeprefix("api/")
            found = self._repository(path if interface or path.startswith("datasets/") else f"models/{path}")
            if found is None:
                return self._send(b"{}", 404, X_Error_Code="RepoNotFound")
            name, folder, rest = found
            listed = _listing(folder)
            match rest.split("/"):
                case [""] | ["revision", _] if interface:
                    siblings = [{"rfilename": entry["path"]} for entry in listed]
                    return self._json({"id": name, "sha": REVISION, "siblings": siblings, "private": False, "tags": []})
                case ["tree", _, *under] if interface:
                    prefix = "/".join([*under, ""])
                    return self._json([entry for entry in listed if entry["path"].startswith(prefix)])
                case ["paths-info", _] if interface:
                    fields = parse_qs(body.decode()) if not body.startswith(b"{") else json.loads(body)
                    return self._json([entry for entry in listed if entry["path"] in fields.get("paths", [])])
                case ["resolve", _, *file] if not interface and (folder / "/".join(file)).is_file():
                    return self._file(folder / "/".join(file))
            return self._send(b"{}", 404, X_Error_Code="EntryNotFound")

        def _written(self, path: str, body: bytes) -> object:
            """Answer what a client asks that writes, and keep the files that it sends; None of anything else."""
            assert pushed is not None
            here = f"http://{self.headers['Host']}/someone/pruned"
            match path.split("/"):
                case ["whoami-v2"]:
                    return {"type": "user", "name": "someone", "auth": {"accessToken": {"role": "write"}}}
                case ["repos", "create"]:
                    pushed["private"] = json.loads(body).get("private", json.loads(body).get("visibility"))
                    return {"url": here, "name": "someone/pruned"}
                case ["validate-yaml"]:
                    return {"errors": [], "warnings": []}
                case ["models", *_, "preupload", _]:
                    files, how = json.loads(body)["files"], {"uploadMode": "regular", "shouldIgnore": False}
                    return {"files": [{"path": file["path"], **how} for file in files]}
                case ["models", *_, "commit", _]:
                    for line in map(json.loads, body.splitlines()):
                        if line["key"] == "file":
                            pushed[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                    return {
                        "success": True,
                        "commitOid": REVISION,
                        "commitUrl": f"{here}/commit/{REVISION}",
                        "hookOutput": "",
                    }
            return None

        def _file(self, path: Path) -> None:
            data = path.read_bytes()
            headers = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X_Repo_Commit": REVISION}
            first, _, last = self.headers.get("Range", "").removeprefix("bytes=").partition("-")
            if not first:
                return self._send(data, Accept_Ranges="bytes", **headers)
            begin, end = int(first), min(int(last or len(data) - 1), len(data) - 1)
            headers["Content_Range"] = f"bytes {begin}-{end}/{len(data)}"
            return self._send(data[begin : end + 1], 206, **headers)

        do_GET = do_HEAD = do_POST = _answer

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
