"""Requests by hand: Signature Version 4 written out from its specification, and sockets that send what they are given.
For what no SDK would send; an oracle beside botocore for what they do send."""

import datetime
import hashlib
import hmac
import json
import re
import socket
import ssl
import urllib.parse

ALGORITHM = "AWS4-HMAC-SHA256"
EMPTY = hashlib.sha256(b"").hexdigest()


def amz_date(offset_s=0):
    return (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=offset_s)).strftime("%Y%m%dT%H%M%SZ")


def escape(text, safe=""):
    return urllib.parse.quote(text, safe=safe + "-_.~")


def hmac_sha256(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def signing_key(secret, date, region, service, terminator="aws4_request"):
    key = ("AWS4" + secret).encode()
    for part in (date, region, service, terminator):
        key = hmac_sha256(key, part)
    return key


def canonical_query(query):
    pairs = [pair.partition("=")[::2] for pair in query.split("&") if pair]
    pairs = [(escape(urllib.parse.unquote(k)), escape(urllib.parse.unquote(v))) for k, v in pairs if k != "X-Amz-Signature"]
    return "&".join(f"{k}={v}" for k, v in sorted(pairs))


def canonical_path(path, service):
    if service == "s3":
        return escape(urllib.parse.unquote_to_bytes(path), "/")
    return escape(path, "/")


class Signer:
    """Signs as the service asks; every part of the scope can be given, to sign wrongly."""

    def __init__(self, key, secret, service, region="us-east-1", token=None, date=None, scope_date=None,
                 terminator="aws4_request", algorithm=ALGORITHM):
        self.key, self.secret, self.service, self.region, self.token = key, secret, service, region, token
        self.date = date or amz_date()
        self.scope_date = scope_date or self.date[:8]
        self.terminator, self.algorithm = terminator, algorithm
        self.scope = f"{self.scope_date}/{region}/{service}/{terminator}"

    def signature(self, method, path, query, headers, signed, payload_hash):
        present = {name.lower(): re.sub(" +", " ", value.strip()) for name, value in headers.items()}
        canonical = "\n".join([
            method, canonical_path(path, self.service), canonical_query(query),
            *(f"{name}:{present.get(name, '')}" for name in signed), "", ";".join(signed), payload_hash])
        return self.sign(f"{self.algorithm}\n{self.date}\n{self.scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}")

    def sign(self, text):
        key = signing_key(self.secret, self.scope_date, self.region, self.service, self.terminator)
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()

    def chunk(self, data, previous):
        """One chunk of an aws-chunked body: (its signature, its bytes)."""
        signature = self.sign(f"AWS4-HMAC-SHA256-PAYLOAD\n{self.date}\n{self.scope}\n{previous}\n{EMPTY}\n{hashlib.sha256(data).hexdigest()}")
        return signature, f"{len(data):x};chunk-signature={signature}\r\n".encode() + data + b"\r\n"

    def header(self, method, path, query, headers, body, payload_hash=None, signed=None):
        """Adds what a signed request has to `headers`; all of them are signed unless `signed` names some."""
        headers = dict(headers)
        headers["X-Amz-Date"] = self.date
        if self.token:
            headers["X-Amz-Security-Token"] = self.token
        payload_hash = payload_hash or hashlib.sha256(body).hexdigest()
        if self.service == "s3":
            headers["X-Amz-Content-Sha256"] = payload_hash
        signed = sorted(name.lower() for name in headers) if signed is None else signed
        signature = self.signature(method, path, query, headers, signed, payload_hash)
        headers["Authorization"] = f"{self.algorithm} Credential={self.key}/{self.scope}, SignedHeaders={';'.join(signed)}, Signature={signature}"
        return headers

    def query(self, method, path, query, headers, expires=300, payload_hash=None):
        """The presigned form: the query with the signature in it."""
        signed = sorted(name.lower() for name in headers)
        parts = {"X-Amz-Algorithm": self.algorithm, "X-Amz-Credential": f"{self.key}/{self.scope}", "X-Amz-Date": self.date,
                 "X-Amz-Expires": str(expires), "X-Amz-SignedHeaders": ";".join(signed)}
        if self.token:
            parts["X-Amz-Security-Token"] = self.token
        query = "&".join(filter(None, [query, *(f"{name}={escape(value)}" for name, value in parts.items())]))
        payload_hash = payload_hash or ("UNSIGNED-PAYLOAD" if self.service == "s3" else EMPTY)
        return f"{query}&X-Amz-Signature={self.signature(method, path, query, headers, signed, payload_hash)}"


class Answer:
    """What came back: status, headers, body; status 0 when the connection was closed without an answer."""

    def __init__(self, received):
        self.received = received
        while received.startswith(b"HTTP/1.1 1"):  # 100 Continue
            received = received.partition(b"\r\n\r\n")[2]
        head, separator, self.body = received.partition(b"\r\n\r\n")
        match = re.match(rb"HTTP/1\.[01] (\d{3}) ", head)
        self.status = int(match[1]) if match and separator else 0
        self.headers = {}
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            self.headers[name.decode("latin-1").lower()] = value.strip().decode("latin-1")

    def complete(self):
        return self.status and len(self.body) >= int(self.headers.get("content-length", "0") if "transfer-encoding" not in self.headers else "0")

    @property
    def code(self):
        """The error's code, as the services' forms have it."""
        xml = re.search(rb"<Code>([^<]*)</Code>", self.body)
        if xml:
            return xml[1].decode()
        try:
            return json.loads(self.body).get("__type", "").rpartition("#")[2]
        except (ValueError, AttributeError):
            return ""

    @property
    def message(self):
        xml = re.search(rb"<Message>([^<]*)</Message>", self.body)
        if xml:
            return xml[1].decode()
        try:
            return json.loads(self.body).get("message", "")
        except (ValueError, AttributeError):
            return self.body.decode(errors="replace")


def exchange(port, data, secure=False, timeout=10, half_close=False):
    """Sends the bytes over a connection of their own and returns the Answer. Reads until the answer is complete or the
    server closes; `half_close`: says first that nothing more will be sent."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=timeout)
    if secure:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = context.wrap_socket(connection)
    received = b""
    with connection:
        try:
            connection.sendall(data)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it may answer and close before it has read everything
        try:
            while True:
                answer = Answer(received)
                if answer.complete() and answer.headers.get("connection", "").lower() != "close":
                    return answer
                some = connection.recv(65536)
                if not some:
                    return answer
                received += some
        except (ConnectionResetError, BrokenPipeError):
            return Answer(received)


class Client:
    """Signed requests to a harness.Server."""

    def __init__(self, server):
        self.server = server
        self.key = server.environment["AWS_ACCESS_KEY_ID"]
        self.secret = server.environment["AWS_SECRET_ACCESS_KEY"]
        self.host = f"127.0.0.1:{server.port}"

    def signer(self, service, **options):
        return Signer(options.pop("key", self.key), options.pop("secret", self.secret), service, **options)

    def send(self, service, method, path="/", query="", headers=None, body=b"", **options):
        headers = self.signer(service).header(method, path, query, {"Host": self.host, **(headers or {})}, body)
        return exchange(self.server.port, build(method, path, query, headers, body), **options)

    def json(self, service, target, body):
        """A request of the JSON protocol: (status, what came back)."""
        body = body.encode() if isinstance(body, str) else body
        answer = self.send(service, "POST", headers={"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": target}, body=body)
        return answer.status, json.loads(answer.body) if answer.body else None


def build(method, path, query, headers, body, content_length=True):
    lines = [f"{method} {path}{'?' + query if query else ''} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    if content_length and not any(name.lower() in ("content-length", "transfer-encoding") for name in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
