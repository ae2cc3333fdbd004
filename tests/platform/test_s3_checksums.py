"""S3: additional checksums in headers and in the trailers of aws-chunked bodies, signed and not, as today's SDKs send
them and as tampering would."""

import base64
import hashlib
import os
import zlib

import pytest
from harness import refusal
from raw import Client, build, exchange

MIB = 1 << 20


def reflected(polynomial, bits):
    """The table of a reflected CRC."""
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (polynomial if value & 1 else 0)
        table.append(value)
    return table, (1 << bits) - 1


TABLES = {"CRC32C": reflected(0x82F63B78, 32), "CRC64NVME": reflected(0x9A6C9329AC4BC9B5, 64)}


def checksum(algorithm, body):
    """Base64 as in x-amz-checksum-…; computed here, bit by bit where Python has no library for it."""
    if algorithm in ("SHA1", "SHA256"):
        return base64.b64encode(hashlib.new(algorithm, body).digest()).decode()
    if algorithm == "CRC32":
        return base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
    table, ones = TABLES[algorithm]
    value = ones
    for byte in body:
        value = value >> 8 ^ table[(value ^ byte) & 255]
    return base64.b64encode((value ^ ones).to_bytes(len(f"{ones:x}") // 2, "big")).decode()


ALGORITHMS = ["CRC32", "CRC32C", "SHA1", "SHA256", "CRC64NVME"]
BY_SDK = ["CRC32", "SHA1", "SHA256"]  # the others need the AWS common runtime


def test_the_oracle_knows_the_published_check_values():
    assert base64.b64decode(checksum("CRC32C", b"123456789")).hex() == "e3069283"
    assert base64.b64decode(checksum("CRC64NVME", b"123456789")).hex() == "ae8b14860a799888"


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("algorithm", BY_SDK)
@pytest.mark.parametrize("size", [0, 10_000, 2_000_000])
def test_as_boto3_sends_them(server, bucket, secure, algorithm, size):
    """Over http in a header with a signed hash, over https in an unsigned trailer; and checked when read."""
    s3 = server.client("s3", secure=secure)
    body = os.urandom(size)
    member = f"Checksum{algorithm}"
    assert s3.put_object(Bucket=bucket, Key="k", Body=body, ChecksumAlgorithm=algorithm)[member] == checksum(algorithm, body)
    got = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert got["Body"].read() == body and got[member] == checksum(algorithm, body) and got["ChecksumType"] == "FULL_OBJECT"
    assert s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")[member] == checksum(algorithm, body)
    about = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=["Checksum", "ObjectSize", "ETag"])
    assert about["Checksum"][member] == checksum(algorithm, body) and about["ObjectSize"] == size


@pytest.mark.parametrize("settings", [{}, {"payload_signing_enabled": True}, {"payload_signing_enabled": False}], ids=["default", "signed", "unsigned"])
@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_streams_of_unknown_content(server, bucket, secure, settings, tmp_path):
    s3 = server.client("s3", secure=secure, s3=settings)
    body = os.urandom(300_000)
    (tmp_path / "f").write_bytes(body)
    with open(tmp_path / "f", "rb") as file:
        s3.put_object(Bucket=bucket, Key="k", Body=file)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == body


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("size", [11, 100_000])
def test_in_headers(server, bucket, algorithm, size):
    client, body = Client(server), os.urandom(size)
    header = f"x-amz-checksum-{algorithm.lower()}"
    answer = client.send("s3", "PUT", f"/{bucket}/k", headers={header: checksum(algorithm, body)}, body=body)
    assert answer.status == 200, answer.body
    assert answer.headers[header] == checksum(algorithm, body)
    wrong = client.send("s3", "PUT", f"/{bucket}/wrong", headers={header: checksum(algorithm, body + b"x")}, body=body)
    assert (wrong.status, wrong.code) == (400, "BadDigest")
    nonsense = client.send("s3", "PUT", f"/{bucket}/wrong", headers={header: "nonsense"}, body=body)
    assert (nonsense.status, nonsense.code) == (400, "InvalidRequest")
    assert client.send("s3", "HEAD", f"/{bucket}/wrong").status == 404


def test_content_md5(server, bucket):
    client, body = Client(server), b"hello"
    right = base64.b64encode(hashlib.md5(body).digest()).decode()
    assert client.send("s3", "PUT", f"/{bucket}/k", headers={"Content-MD5": right}, body=body).status == 200
    wrong = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    assert client.send("s3", "PUT", f"/{bucket}/k", headers={"Content-MD5": wrong}, body=body).code == "BadDigest"
    assert client.send("s3", "PUT", f"/{bucket}/k", headers={"Content-MD5": "?"}, body=body).code == "InvalidDigest"


# aws-chunked, written by hand


class Chunked:
    """A PUT in chunks with a checksum in its trailer; each of its pieces can be spoilt."""

    def __init__(self, server, bucket, body, algorithm, signed, chunk=64 << 10):
        self.server, self.path, self.body, self.signed, self.chunk = server, f"/{bucket}/k", body, signed, chunk
        self.name, self.value = f"x-amz-checksum-{algorithm.lower()}", checksum(algorithm, body)
        self.client = Client(server)
        self.signer = self.client.signer("s3")
        self.announced, self.decoded = self.name, len(body)
        self.spoil = lambda encoded: encoded
        self.trailer_signature = None

    def send(self, **options):
        mode = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" if self.signed else "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
        headers = self.signer.header("PUT", self.path, "", {
            "Host": self.client.host, "Content-Encoding": "aws-chunked", "X-Amz-Decoded-Content-Length": str(self.decoded),
            "X-Amz-Trailer": self.announced}, b"", payload_hash=mode)
        previous = headers["Authorization"].rpartition("Signature=")[2]
        encoded = b""
        for at in [*range(0, len(self.body), self.chunk), len(self.body)]:
            piece = self.body[at:at + self.chunk]
            if self.signed:
                previous, one = self.signer.chunk(piece, previous)
                encoded += one if piece else one[:-2]
            else:
                encoded += f"{len(piece):x}\r\n".encode() + (piece + b"\r\n" if piece else b"")
        trailer = f"{self.name}:{self.value}\n"
        encoded += trailer.rstrip().encode() + b"\r\n"
        if self.signed:
            signature = self.trailer_signature or self.signer.sign(
                f"AWS4-HMAC-SHA256-TRAILER\n{self.signer.date}\n{self.signer.scope}\n{previous}\n{hashlib.sha256(trailer.encode()).hexdigest()}")
            encoded += f"x-amz-trailer-signature:{signature}\r\n".encode()
        return exchange(self.server.port, build("PUT", self.path, "", headers, self.spoil(encoded + b"\r\n")), **options)


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("size,chunk", [(0, 1), (100_001, 8192), (100_001, 99_999)])
def test_trailers(server, bucket, signed, secure, algorithm, size, chunk):
    body = os.urandom(size)
    put = Chunked(server, bucket, body, algorithm, signed, chunk)
    answer = put.send(secure=secure)
    assert answer.status == 200, answer.body
    assert answer.headers[put.name] == put.value
    got = server.client("s3").get_object(Bucket=bucket, Key="k")
    assert got["Body"].read() == body and "ContentEncoding" not in got


def test_a_large_signed_stream(server, bucket):
    body = os.urandom(5 * MIB + 3)
    assert Chunked(server, bucket, body, "SHA256", True).send().status == 200
    assert server.client("s3").get_object(Bucket=bucket, Key="k")["Body"].read() == body


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
def test_trailers_that_lie(server, bucket, signed):
    body = os.urandom(100_000)

    def refused(change, code):
        put = Chunked(server, bucket, body, "CRC32", signed)
        change(put)
        answer = put.send()
        assert (answer.status, answer.code) == (403 if code == "SignatureDoesNotMatch" else 400, code), answer.body

    def wrong_value(put):
        put.value = checksum("CRC32", b"other")

    def flipped_bit(put):
        put.spoil = lambda encoded: encoded[:50_000] + bytes([encoded[50_000] ^ 1]) + encoded[50_001:]

    def not_announced(put):
        put.announced = "x-amz-checksum-sha256"

    refused(wrong_value, "BadDigest")
    refused(flipped_bit, "SignatureDoesNotMatch" if signed else "BadDigest")
    refused(not_announced, "MalformedTrailerError")
    refused(lambda put: setattr(put, "decoded", 99_999), "IncompleteBody")
    if signed:
        refused(lambda put: setattr(put, "trailer_signature", "0" * 64), "SignatureDoesNotMatch")
    assert refusal(server.client("s3").head_object, Bucket=bucket, Key="k")[0] == "404"


def test_a_body_that_is_not_what_was_signed(server, bucket):
    client = Client(server)
    headers = client.signer("s3").header("PUT", f"/{bucket}/k", "", {"Host": client.host}, b"signed")
    answer = exchange(server.port, build("PUT", f"/{bucket}/k", "", headers, b"sealed"))
    assert (answer.status, answer.code) == (400, "XAmzContentSHA256Mismatch")
    assert refusal(server.client("s3").head_object, Bucket=bucket, Key="k")[0] == "404"


# of parts


@pytest.mark.parametrize("algorithm,kind", [("CRC32", "COMPOSITE"), ("CRC32", "FULL_OBJECT"), ("SHA1", "COMPOSITE"), ("SHA256", "COMPOSITE")])
def test_of_multipart_uploads(server, bucket, algorithm, kind):
    s3 = server.client("s3")
    bodies = [os.urandom(5 * MIB), os.urandom(1000)]
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm=algorithm, ChecksumType=kind)
    assert (upload["ChecksumAlgorithm"], upload["ChecksumType"]) == (algorithm, kind)
    member, parts = f"Checksum{algorithm}", []
    for number, body in enumerate(bodies, 1):
        part = s3.upload_part(Bucket=bucket, Key="k", UploadId=upload["UploadId"], PartNumber=number, Body=body, ChecksumAlgorithm=algorithm)
        assert part[member] == checksum(algorithm, body)
        parts.append({"PartNumber": number, "ETag": part["ETag"], member: part[member]})
    if kind == "FULL_OBJECT":
        whole = checksum(algorithm, b"".join(bodies))
        given = {member: whole, "ChecksumType": kind}
        lie = given | {member: checksum(algorithm, b"other")}
        assert refusal(s3.complete_multipart_upload, Bucket=bucket, Key="k", UploadId=upload["UploadId"], MultipartUpload={"Parts": parts}, **lie)[0] == "BadDigest"
    else:
        digests = b"".join(base64.b64decode(checksum(algorithm, body)) for body in bodies)
        whole, given = f"{checksum(algorithm, digests)}-2", {}
    lying = [parts[0] | {member: parts[1][member]}, parts[1]]
    assert refusal(s3.complete_multipart_upload, Bucket=bucket, Key="k", UploadId=upload["UploadId"], MultipartUpload={"Parts": lying})[0] == "InvalidPart"
    done = s3.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=upload["UploadId"], MultipartUpload={"Parts": parts}, **given)
    assert (done[member], done["ChecksumType"]) == (whole, kind)
    got = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert got[member] == whole and got["Body"].read() == b"".join(bodies)


def test_a_part_with_another_algorithm_than_its_upload(server, bucket):
    s3 = server.client("s3")
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm="SHA256")
    code, _ = refusal(s3.upload_part, Bucket=bucket, Key="k", UploadId=upload["UploadId"], PartNumber=1, Body=b"x", ChecksumAlgorithm="CRC32")
    assert code == "InvalidRequest"
