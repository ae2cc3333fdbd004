"""The table of malformed requests (malformed.json): each row is sent over a connection of its own, byte for byte, and
must get its own error; sent again and again, all of it leaves a server that answers, and that has leaked nothing.

A row of the table:
  name     of the test
  raw      the bytes, as they are; or their parts:
  service, method, path, query, headers, body     (default: a DescribeTrainingJob of no job)
  sign     how it is signed: {"form": "header" | "query" | "none", "key", "secret", "region", "service", "token",
           "offset_s", "date", "scope_date", "terminator", "algorithm", "signed", "payload_hash", "expires"},
           each to be wrong in; "chunks": the pieces of an aws-chunked body, each signed
  tamper   what happens to it after it was signed: {"method", "path", "query", "body", "headers", "replace": [old, new]}
  half_close, secure     say first that no more will come; speak TLS
  status, code, message  what must come back (the message in part); status 0: the connection is closed, unanswered

A text may be a list: [text, count] in it stands for that many of the text. @NAME@ stands for a value of PLACEHOLDERS.
Text is sent as Latin-1: one character, one byte.
"""

import json
import os
import pathlib
import time

import pytest
from harness import wait_until
from raw import Client, amz_date, build, exchange

TABLE = json.loads(pathlib.Path(__file__).with_name("malformed.json").read_text())
PLACEHOLDERS = ("HOST", "BUCKET", "UPLOAD", "KEY", "DATE")
DESCRIBE = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "SageMaker.DescribeTrainingJob"}


def text(value):
    if isinstance(value, list):
        return "".join(piece if isinstance(piece, str) else piece[0] * piece[1] for piece in value)
    return value


class Sender:
    """Turns rows into bytes for one server, and sends them."""

    def __init__(self, server):
        self.client = Client(server)
        self.server = server
        self.bucket = "malformed-requests"
        s3 = server.client("s3")
        s3.create_bucket(Bucket=self.bucket)
        s3.put_object(Bucket=self.bucket, Key="small", Body=b"hello world")
        self.upload = s3.create_multipart_upload(Bucket=self.bucket, Key="upload")["UploadId"]

    def clean(self):
        s3 = self.server.client("s3")
        s3.abort_multipart_upload(Bucket=self.bucket, Key="upload", UploadId=self.upload)
        for item in s3.list_objects_v2(Bucket=self.bucket).get("Contents", []):
            s3.delete_object(Bucket=self.bucket, Key=item["Key"])
        s3.delete_bucket(Bucket=self.bucket)

    def filled(self, value):
        """A text with its placeholders filled in; headers and lists of them likewise."""
        if isinstance(value, dict):
            return {name: self.filled(one) for name, one in value.items()}
        value = text(value)
        if isinstance(value, str) and "@" in value:
            known = (self.client.host, self.bucket, self.upload, self.client.key, amz_date())
            for name, filled in zip(PLACEHOLDERS, known):
                value = value.replace(f"@{name}@", filled)
        return value

    def bytes_of(self, row):
        if "raw" in row:
            return self.filled(row["raw"]).encode("latin-1")
        service = row.get("service", "sagemaker")
        method = row.get("method", "POST")
        path, query = self.filled(row.get("path", "/")), self.filled(row.get("query", ""))
        headers = {"Host": self.client.host}
        body = ""
        if service == "sagemaker":
            headers |= DESCRIBE
            body = '{"TrainingJobName": "none"}'
        elif service == "logs":
            headers["Content-Type"] = DESCRIBE["Content-Type"]
        elif service == "sts":
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            body = "Action=GetCallerIdentity&Version=2011-06-15"
        for name, value in self.filled(row.get("headers", {})).items():
            headers.pop(name, None)
            if value is not None:
                headers[name] = value
        body = self.filled(row.get("body", body)).encode("latin-1")

        sign = {"form": "header", **row.get("sign", {})}
        options = {name: self.filled(sign[name])
                   for name in ("key", "secret", "region", "token", "date", "scope_date", "terminator", "algorithm") if name in sign}
        if "offset_s" in sign:
            options["date"] = amz_date(sign["offset_s"])
        signer = self.client.signer(sign.get("service", service), **options)
        if "chunks" in sign:
            headers["Content-Encoding"] = "aws-chunked"
            headers["X-Amz-Decoded-Content-Length"] = str(sum(map(len, sign["chunks"])))
            headers = signer.header(method, path, query, headers, b"", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
            previous, body = headers["Authorization"].rpartition("=")[2], b""
            for chunk in [*sign["chunks"], ""]:
                previous, framed = signer.chunk(chunk.encode(), previous)
                body += framed
        elif sign["form"] == "header":
            headers = signer.header(method, path, query, headers, body, sign.get("payload_hash"), sign.get("signed"))
        elif sign["form"] == "query":
            host = {"Host": headers["Host"]} if sign.get("signed") is None else {name: headers[name] for name in sign["signed"]}
            query = signer.query(method, path, query, host, sign.get("expires", 300), sign.get("payload_hash"))

        tamper = row.get("tamper", {})
        for name, value in self.filled(tamper.get("headers", {})).items():
            headers.pop(name, None)
            if value is not None:
                headers[name] = value
        body = self.filled(tamper["body"]).encode("latin-1") if "body" in tamper else body
        data = build(tamper.get("method", method), self.filled(tamper.get("path", path)), self.filled(tamper.get("query", query)), headers, body)
        if "replace" in tamper:
            old, new = (self.filled(one).encode("latin-1") for one in tamper["replace"])
            assert data.count(old) >= 1, f"'{row['name']}' has nothing to replace"
            data = data.replace(old, new, 1)
        return data

    def send(self, row):
        return exchange(self.server.port, self.bytes_of(row), row.get("secure", False), timeout=30, half_close=row.get("half_close", False))


@pytest.fixture(scope="module")
def sender(server):
    one = Sender(server)
    yield one
    one.clean()


@pytest.mark.parametrize("row", TABLE, ids=[row["name"] for row in TABLE])
def test_gets_its_own_error(sender, row):
    answer = sender.send(row)
    assert answer.status == row["status"], answer.received[:2000]
    assert answer.code == row.get("code", ""), answer.received[:2000]
    assert row.get("message", "") in answer.message, answer.received[:2000]
    if answer.code and row.get("method") != "HEAD":
        assert "x-amzn-requestid" in answer.headers or "x-amz-request-id" in answer.headers
    # Whatever was wrong, it was the sender's mistake, and nothing of ours shows.
    assert answer.status < 500 or row["status"] == answer.status
    assert sender.client.secret.encode() not in answer.received


def test_the_table_has_a_name_for_each_row_and_enough_rows():
    names = [row["name"] for row in TABLE]
    assert len(names) == len(set(names)) and len(names) >= 60


def memory_kb(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def test_the_whole_table_again_and_again_leaks_nothing(new_server):
    server = new_server()
    sender = Sender(server)
    pid = server.process.pid

    def rounds(count):
        for _ in range(count):
            for row in TABLE:
                sender.send(row)

    rounds(3)  # pools, caches and heaps take their size
    before_kb, before_descriptors = memory_kb(pid), descriptors(pid)
    rounds(17)
    wait_until(lambda: descriptors(pid) <= before_descriptors + 2, 20, f"{descriptors(pid)} descriptors to become {before_descriptors}")
    grown_kb = memory_kb(pid) - before_kb
    # One leaked body of a row, or one request in ten, would be more than this.
    assert grown_kb < 8 * 1024, f"{grown_kb} KiB more than {before_kb} KiB after {17 * len(TABLE)} requests"
    assert server.process.poll() is None
    assert server.client("sts").get_caller_identity()["Account"]
    assert server.client("s3").get_object(Bucket=sender.bucket, Key="small")["Body"].read() == b"hello world"
    assert "assertion" not in server.printed()


def test_connections_that_stop_in_the_middle_hold_nobody_up(server, sender):
    """Heads, bodies and handshakes that never end, a hundred at once, while others are served."""
    import socket

    beginnings = [b"", b"POST / HT", b"POST / HTTP/1.1\r\nHost: x\r\n", b"\x16\x03\x01\x02\x00\x01",
                  b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\nabc",
                  b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\nabc"]
    stuck = []
    for i in range(100):
        stuck.append(socket.create_connection(("127.0.0.1", server.port)))
        stuck[-1].sendall(beginnings[i % len(beginnings)])
    begun = time.monotonic()
    for _ in range(20):
        assert sender.client.send("sts", "POST", headers={"Content-Type": "application/x-www-form-urlencoded"},
                                  body=b"Action=GetCallerIdentity&Version=2011-06-15").status == 200
    assert time.monotonic() - begun < 5
    before = descriptors(server.process.pid)
    for connection in stuck:
        connection.close()
    wait_until(lambda: descriptors(server.process.pid) <= before - 100, 20, "the server to let go of connections that are gone")


@pytest.mark.slow
def test_a_head_that_does_not_come_in_time_is_refused(server):
    import socket

    connection = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
    begun = time.monotonic()
    connection.settimeout(2)
    received = b""
    while time.monotonic() - begun < 60:
        try:
            some = connection.recv(65536)
        except TimeoutError:
            connection.sendall(b"X-A: b\r\n")  # ever so slowly
            continue
        if not some:
            break
        received += some
    assert received.startswith(b"HTTP/1.1 408 ")
    assert 10 < time.monotonic() - begun < 40
