"""S3 when the server dies, the disk is full, and clients break off: what was acknowledged is there, and nothing else is."""

import hashlib
import os
import socket
import sqlite3
import threading
import time

import pytest
from harness import Server, refusal, wait_until
from raw import Client, build

MIB = 1 << 20


def body_files(server):
    """The numbers of files that hold bodies, and the numbers that the database knows."""
    folder = server.data_dir / "objects"
    with sqlite3.connect(f"file:{folder}/objects.db?mode=ro", uri=True) as database:
        named = {number for number, in database.execute("SELECT number FROM bodies WHERE bytes IS NULL")}
    return {int(path.name, 16) for path in (folder / "bodies").glob("*/*")}, named


class Uploader(threading.Thread):
    """Puts objects of all sizes, whole and in parts, until the server is gone; remembers what was acknowledged."""

    def __init__(self, server, index, seed):
        super().__init__(daemon=True)
        self.server, self.index, self.seed = server, index, seed
        self.acknowledged, self.begun = {}, set()

    def run(self):
        s3, bucket = self.server.client("s3"), self.server.bucket
        sizes = [100, 10_000, 70_000, 3_000_000, 11_000_000]
        turn = 0
        try:
            while True:
                key = f"{self.seed}/{self.index}/{turn}"
                body = os.urandom(sizes[(self.index + turn) % len(sizes)])
                self.begun.add(key)
                if len(body) > 5 * MIB:
                    upload = s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
                    parts = [{"PartNumber": number, "ETag": s3.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=part)["ETag"]}
                             for number, part in enumerate((body[:5 * MIB], body[5 * MIB:]), 1)]
                    s3.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts})
                else:
                    s3.put_object(Bucket=bucket, Key=key, Body=body)
                self.acknowledged[key] = hashlib.md5(body).digest()
                turn += 1
        except Exception:
            pass  # the server is gone


def test_kill_9_while_uploading(new_server):
    server = new_server()
    acknowledged = {}
    for round_number in range(3):
        uploaders = [Uploader(server, i, round_number) for i in range(6)]
        for uploader in uploaders:
            uploader.start()
        wait_until(lambda: sum(len(uploader.acknowledged) for uploader in uploaders) > 20, what="uploads")
        time.sleep(0.3 * round_number)
        server.kill()
        for uploader in uploaders:
            uploader.join(30)
            acknowledged |= uploader.acknowledged
        server.start()
        files, named = body_files(server)
        assert files <= named, "a file that no row names was left"
        s3 = server.client("s3")
        for key, digest in acknowledged.items():
            assert hashlib.md5(s3.get_object(Bucket=server.bucket, Key=key)["Body"].read()).digest() == digest, key
        # What was not acknowledged is there whole or not at all.
        for key in set().union(*(uploader.begun for uploader in uploaders)) - acknowledged.keys():
            code = None
            try:
                s3.get_object(Bucket=server.bucket, Key=key)["Body"].read()
            except s3.exceptions.NoSuchKey:
                code = "NoSuchKey"
            assert code in (None, "NoSuchKey")
    for upload in s3.list_multipart_uploads(Bucket=server.bucket).get("Uploads", []):
        s3.abort_multipart_upload(Bucket=server.bucket, Key=upload["Key"], UploadId=upload["UploadId"])
    for key in acknowledged:
        s3.delete_object(Bucket=server.bucket, Key=key)
    s3.delete_objects(Bucket=server.bucket, Delete={"Objects": [{"Key": item["Key"]} for item in s3.list_objects_v2(Bucket=server.bucket).get("Contents", [])] or [{"Key": "-"}]})
    wait_until(lambda: body_files(server) == (set(), set()), what="the files of deleted objects to go")


def test_an_upload_goes_on_after_a_restart(new_server):
    server = new_server()
    s3, bucket = server.client("s3"), server.bucket
    first, second = os.urandom(6 * MIB), os.urandom(6 * MIB)
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    parts = [s3.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=1, Body=first)["ETag"]]
    server.restart()
    s3 = server.client("s3")
    parts.append(s3.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=2, Body=second)["ETag"])
    s3.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=upload, MultipartUpload={
        "Parts": [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(parts, 1)]})
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == first + second


@pytest.mark.parametrize("size", [1000, 100_000, 5_000_000])
def test_a_client_that_breaks_off_leaves_nothing(server, bucket, size):
    client = Client(server)
    body = os.urandom(size)
    before = body_files(server)[0]
    headers = client.signer("s3").header("PUT", f"/{bucket}/k", "", {"Host": client.host}, body)
    request = build("PUT", f"/{bucket}/k", "", headers, body)
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(request[:-size // 3])
    wait_until(lambda: body_files(server)[0] == before, timeout=10, what="the file of the broken upload to go")
    assert refusal(server.client("s3").head_object, Bucket=bucket, Key="k")[0] == "404"


def test_a_full_disk_is_told_and_passes(identity, make_disk):
    server = Server(identity, make_disk(48))
    server.start()
    try:
        s3, bucket = server.client("s3"), server.bucket
        kept = os.urandom(15 * MIB)
        s3.put_object(Bucket=bucket, Key="kept", Body=kept)
        code, message = refusal(s3.put_object, Bucket=bucket, Key="too-large", Body=bytes(60 * MIB))
        assert code in ("InsufficientStorage", "ServiceUnavailable", "InternalError") and ("space" in message or "full" in message), (code, message)
        upload = s3.create_multipart_upload(Bucket=bucket, Key="too-large")["UploadId"]
        assert refusal(s3.upload_part, Bucket=bucket, Key="too-large", UploadId=upload, PartNumber=1, Body=bytes(60 * MIB))[0] == code
        s3.abort_multipart_upload(Bucket=bucket, Key="too-large", UploadId=upload)
        small, failed = 0, None
        for small in range(3000):
            try:
                s3.put_object(Bucket=bucket, Key=f"small/{small}", Body=os.urandom(60_000))
            except s3.exceptions.ClientError as error:
                failed = error.response["Error"]["Code"]
                break
        assert failed == code and small > 100
        assert server.process.poll() is None, "the server is up"
        assert s3.get_object(Bucket=bucket, Key="kept")["Body"].read() == kept
        assert s3.list_objects_v2(Bucket=bucket, Prefix="small/", MaxKeys=1000)["KeyCount"] == small
        s3.delete_object(Bucket=bucket, Key="kept")

        def room():
            try:
                return s3.put_object(Bucket=bucket, Key="after", Body=os.urandom(300_000))
            except s3.exceptions.ClientError:
                return None

        wait_until(room, timeout=20, what="room after something was deleted")
        server.restart()
        assert server.client("s3").list_objects_v2(Bucket=bucket, Prefix="small/", MaxKeys=1000)["KeyCount"] == small
        files, named = body_files(server)
        assert files == named
    finally:
        server.close()
