#!/usr/bin/env python3
"""A ClickHouse for tests: the real engine (the chdb-core wheel) behind the part of ClickHouse's HTTP protocol that clients use.

    target/clickhouse-venv/bin/python tests/clickhouse/server.py --path FOLDER [--port N] [--user U --password P]
                                                                 [--certificate PEM --key PEM]

Prints one line of JSON, {"address", "version"}, once it listens on 127.0.0.1, and ends when its standard input closes.

Spoken: the query in ?query= and in the body, INSERT in every input format, blocks compressed with LZ4 (decompress=1), bodies with a
length and in chunks, keep-alive, settings in the address, database=, default_format=, X-ClickHouse-* headers, exception codes, /ping.
One engine and one session, so one statement at a time; results are held whole.

Faults. Each applies to the next `count` matching requests; `none` clears it:

    POST /__fault?kind=KIND&count=1[&only=INSERT][&status=500&code=241][&ms=2000]
        drop_before   read the request, close without applying it
        drop_after    apply it, close without an answer
        error         answer with this status and exception code
        delay         wait, then go on as usual

GET /__seen tells the last requests, {"query", "settings"} each, in JSON.
"""
import argparse
import collections
import json
import os
import re
import ssl
import struct
import sys
import tempfile
import threading
import time
import urllib.parse
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

try:
    from chdb import session
    from lz4.block import decompress as lz4_block
except ImportError as missing:
    sys.exit(f"server.py: {missing}; run tests/clickhouse/setup.sh and start this with target/clickhouse-venv/bin/python")

# Parameters of the protocol; everything else in the address is a setting of the query.
PROTOCOL = {"query", "database", "default_format", "decompress", "compress", "query_id", "user", "password", "session_id",
            "session_timeout", "session_check", "role", "wait_end_of_query", "buffer_size", "quota_key", "stacktrace", "close_session"}
# HTTP status by exception code, where it is not 500.
STATUS = {60: 404, 81: 404, 115: 404, 46: 404, 47: 404, 50: 404, 73: 404, 63: 404, 62: 400, 36: 400, 27: 400, 26: 400, 41: 400,
          6: 400, 38: 400, 53: 400, 33: 400, 32: 400, 117: 400, 48: 501, 159: 408, 516: 403}
INSERT = re.compile(rb"^\s*INSERT\s+INTO\s(?P<into>.*?)\s+FORMAT\s+(?P<format>\w+)\s*(?P<rest>.*)$", re.I | re.S)
FORMAT = re.compile(r"\bFORMAT\s+(\w+)\s*;?\s*$", re.I)
NAME = re.compile(r"^\w+$")
# Requests remembered for /__seen.
SEEN_MAX = 1000


class Refusal(Exception):
    """An exception of ClickHouse: its number is in its text."""

    def __init__(self, text):
        found = re.search(r"Code: (\d+)", text)
        self.code = int(found.group(1)) if found else 1002
        super().__init__(text if found else f"Code: {self.code}. DB::Exception: {text} (UNKNOWN_EXCEPTION)")


class Engine:
    """The engine, one statement at a time."""

    def __init__(self, path):
        self.session, self.lock = session.Session(path), threading.Lock()
        self.version, self.timezone = self.word("SELECT version()"), self.word("SELECT timezone()")

    def word(self, sql):
        return self.session.query(sql, "TSV").bytes().decode().rstrip("\n")

    def run(self, query, data, args, default_format):
        """Runs `query` with `data` (bytes both); returns the result and ClickHouse's summary of it."""
        changed = []
        with self.lock:
            try:
                self.session.query("USE `%s`" % args.get("database", "default").replace("`", "\\`"))
                for name, value in args.items():
                    if name not in PROTOCOL and NAME.match(name):
                        self.session.query("SET %s = '%s'" % (name, value.replace("\\", "\\\\").replace("'", "\\'")))
                        changed.append(name)
                insert = INSERT.match(query)
                if insert and insert["format"].lower() != b"values":
                    return self.insert(insert, data)
                sql = (query + data).decode("utf-8", "surrogateescape")
                named = FORMAT.search(sql)
                result = self.session.query(sql, named.group(1) if named else default_format)
                return bytes(result.bytes()), {"read_rows": str(result.rows_read()), "read_bytes": str(result.bytes_read())}
            except Exception as error:  # the engine raises several types; the text holds the code
                raise Refusal(str(error)) from None
            finally:
                for name in changed:
                    try:
                        self.session.query(f"SET {name} = DEFAULT")
                    except Exception:
                        pass

    def insert(self, insert, data):
        # Through a file: the engine's own streaming insert reports success for what it refused, and text behind FORMAT is trimmed.
        with tempfile.NamedTemporaryFile(suffix=".in") as file:
            file.write(insert["rest"] + data)
            file.flush()
            into, form = insert["into"].decode(), insert["format"].decode()
            self.session.query(f"INSERT INTO {into} FROM INFILE '{file.name}' COMPRESSION 'none' FORMAT {form}")
        return b"", {}


def unpacked(raw):
    """The content of ClickHouse's compressed blocks: 16 bytes CityHash128, 1 byte method, u32 size with its 9 bytes of header,
    u32 size of the content; the hash is not checked."""
    out, at = [], 0
    while at < len(raw):
        if len(raw) - at < 25:
            raise Refusal("Code: 33. DB::Exception: Cannot read all data: a compressed block is cut short. (CANNOT_READ_ALL_DATA)")
        method, size, content = struct.unpack_from("<BII", raw, at + 16)
        if size < 9 or at + 16 + size > len(raw) or content > 1 << 30:
            raise Refusal("Code: 33. DB::Exception: Cannot read all data: bad compressed block. (CANNOT_READ_ALL_DATA)")
        block = raw[at + 25:at + 16 + size]
        if method == 0x82:
            out.append(lz4_block(block, uncompressed_size=content))
        elif method == 0x02:
            out.append(block)
        else:
            raise Refusal(f"Code: 89. DB::Exception: Unknown compression method {method:#x}. (UNKNOWN_COMPRESSION_METHOD)")
        at += 16 + size
    return b"".join(out)


class Faults:
    """At most one fault, for so many matching requests."""

    def __init__(self):
        self.lock, self.fault = threading.Lock(), None

    def set(self, args):
        with self.lock:
            self.fault = None if args.get("kind", "none") == "none" else dict(args, left=int(args.get("count", 1)))

    def take(self, query):
        with self.lock:
            fault = self.fault
            if not fault or fault["left"] <= 0 or fault.get("only", "").encode().upper() not in query[:64].upper():
                return {}
            fault["left"] -= 1
            return fault


class Handler(BaseHTTPRequestHandler):
    protocol_version, server_version, disable_nagle_algorithm = "HTTP/1.1", "clickhouse-for-tests", True

    def log_message(self, *_):
        pass

    def read_body(self):
        """The whole body, or None where the client went away within it (ClickHouse drops the insert too)."""
        if "chunked" not in self.headers.get("Transfer-Encoding", "").lower():
            size = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(size)
            return body if len(body) == size else None
        out = []
        while True:
            line = self.rfile.readline(1024)
            if not line:
                return None
            size = int(line.split(b";")[0], 16)
            if size == 0:
                while self.rfile.readline(1024).strip():
                    pass
                return b"".join(out)
            piece = self.rfile.read(size)
            if len(piece) < size:
                return None
            out.append(piece)
            self.rfile.readline(8)

    def answer(self, status, body, headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("X-ClickHouse-Server-Display-Name", "clickhouse-for-tests")
        self.send_header("X-ClickHouse-Timezone", self.server.engine.timezone)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, error, status=None):
        text = str(error) if "(version " in str(error) else f"{error} (version {self.server.engine.version})"
        self.answer(status or STATUS.get(error.code, 500), (text + "\n").encode(),
                    [("X-ClickHouse-Exception-Code", str(error.code)), ("Content-Type", "text/plain; charset=UTF-8")])

    def allowed(self, args):
        if not self.server.user:
            return True
        given = self.headers.get("X-ClickHouse-User", args.get("user")), self.headers.get("X-ClickHouse-Key", args.get("password"))
        return given == (self.server.user, self.server.password)

    def do_POST(self):
        try:
            body = self.read_body()
        except OSError:
            body = None
        if body is None:
            self.close_connection = True
            return
        url = urllib.parse.urlsplit(self.path)
        args = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        if url.path == "/ping":
            return self.answer(200, b"Ok.\n")
        if url.path == "/__fault":
            self.server.faults.set(args)
            return self.answer(200, b"Ok.\n")
        if url.path == "/__seen":
            return self.answer(200, json.dumps(list(self.server.seen)).encode())
        if not self.allowed(args):
            return self.refuse(Refusal("Code: 516. DB::Exception: Authentication failed: password is incorrect, or there is no "
                                          "user with such name. (AUTHENTICATION_FAILED)"))
        self.statement(args, body)

    do_GET = do_HEAD = do_POST

    def statement(self, args, data):
        query = args.get("query", "").encode()
        if not query and not data:
            return self.answer(200, b"Ok.\n")
        settings = {name: value for name, value in args.items() if name != "query"}
        self.server.seen.append({"query": (query or data[:400]).decode("utf-8", "replace"), "settings": settings})
        fault = self.server.faults.take(query or data)
        kind = fault.get("kind")
        if kind == "delay":
            time.sleep(int(fault.get("ms", 2000)) / 1000)
        elif kind == "drop_before":
            self.close_connection = True
            return
        elif kind == "error":
            made = Refusal(f"Code: {fault.get('code', '241')}. DB::Exception: made by the test. (MADE_BY_THE_TEST)")
            return self.refuse(made, int(fault.get("status", 500)))
        try:
            if args.get("decompress") == "1":
                data = unpacked(data)
            form = args.get("default_format") or self.headers.get("X-ClickHouse-Format") or "TabSeparated"
            out, summary = self.server.engine.run(query, data, args, form)
        except Refusal as error:
            return self.refuse(error)
        if kind == "drop_after":
            self.close_connection = True
            return
        self.answer(200, out, [("X-ClickHouse-Query-Id", args.get("query_id") or str(uuid.uuid4())), ("X-ClickHouse-Format", form),
                               ("X-ClickHouse-Summary", json.dumps(summary)), ("Content-Type", "application/octet-stream")])


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        pass  # a client that goes away is no news


def end_with_stdin():
    while sys.stdin.buffer.read(1024):
        pass
    os._exit(0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--user", default="")
    parser.add_argument("--password", default="")
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    args = parser.parse_args()
    server = Server(("127.0.0.1", args.port), Handler)
    if args.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(args.certificate, args.key)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.engine, server.faults, server.seen = Engine(args.path), Faults(), collections.deque(maxlen=SEEN_MAX)
    server.user, server.password = args.user, args.password
    threading.Thread(target=end_with_stdin, daemon=True).start()
    print(json.dumps({"address": "127.0.0.1:%d" % server.server_address[1], "version": server.engine.version}), flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
