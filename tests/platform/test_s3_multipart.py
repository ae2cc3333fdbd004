"""S3: multipart uploads, part by part and as boto3's transfers make them."""

import concurrent.futures
import hashlib
import io
import os

import pytest
from harness import refusal

MIB = 1 << 20


def upload_part(s3, bucket, upload, number, body, **more):
    return s3.upload_part(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"], PartNumber=number, Body=body, **more)["ETag"]


def complete(s3, bucket, upload, parts, **more):
    return dict(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"],
                MultipartUpload={"Parts": [{"PartNumber": number, "ETag": etag} for number, etag in parts]}, **more)


def gone(s3, bucket, upload):
    return refusal(s3.list_parts, Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])[0] == "NoSuchUpload"


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_parts_in_any_order_become_one_object(server, bucket, secure):
    s3 = server.client("s3", secure=secure)
    bodies = {1: os.urandom(5 * MIB), 2: os.urandom(6 * MIB), 7: os.urandom(5 * MIB + 1), 9: os.urandom(12345)}
    upload = s3.create_multipart_upload(Bucket=bucket, Key="a/big", ContentType="text/x", Metadata={"a": "b"})
    etags = {number: upload_part(s3, bucket, upload, number, bodies[number]) for number in (9, 2, 7, 1)}
    assert refusal(s3.head_object, Bucket=bucket, Key="a/big")[0] == "404", "nothing is there before its completion"
    listed = s3.list_parts(Bucket=bucket, Key="a/big", UploadId=upload["UploadId"])
    assert [(part["PartNumber"], part["ETag"], part["Size"]) for part in listed["Parts"]] == [
        (number, f'"{hashlib.md5(bodies[number]).hexdigest()}"', len(bodies[number])) for number in sorted(bodies)]
    page = s3.list_parts(Bucket=bucket, Key="a/big", UploadId=upload["UploadId"], MaxParts=2)
    assert page["IsTruncated"] and page["NextPartNumberMarker"] == 2
    rest = s3.list_parts(Bucket=bucket, Key="a/big", UploadId=upload["UploadId"], PartNumberMarker=2)
    assert [part["PartNumber"] for part in rest["Parts"]] == [7, 9]
    assert [one["UploadId"] for one in s3.list_multipart_uploads(Bucket=bucket)["Uploads"]] == [upload["UploadId"]]

    done = s3.complete_multipart_upload(**complete(s3, bucket, upload, sorted(etags.items())))
    whole = b"".join(bodies[number] for number in sorted(bodies))
    md5s = b"".join(hashlib.md5(bodies[number]).digest() for number in sorted(bodies))
    assert done["ETag"] == f'"{hashlib.md5(md5s).hexdigest()}-4"'
    got = s3.get_object(Bucket=bucket, Key="a/big")
    assert got["Body"].read() == whole and got["ContentType"] == "text/x" and got["Metadata"] == {"a": "b"}
    middle = s3.get_object(Bucket=bucket, Key="a/big", Range=f"bytes={5 * MIB - 10}-{11 * MIB + 9}")["Body"].read()
    assert middle == whole[5 * MIB - 10:11 * MIB + 10]
    seventh = s3.get_object(Bucket=bucket, Key="a/big", PartNumber=7)
    assert seventh["Body"].read() == bodies[7] and seventh["PartsCount"] == 4
    assert gone(s3, bucket, upload)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def test_the_last_of_parts_with_one_number_counts(server, bucket):
    s3 = server.client("s3")
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")
    first = upload_part(s3, bucket, upload, 1, os.urandom(5 * MIB))
    body = os.urandom(7 * MIB)
    second = upload_part(s3, bucket, upload, 1, body)
    last = upload_part(s3, bucket, upload, 2, b"end")
    assert refusal(s3.complete_multipart_upload, **complete(s3, bucket, upload, [(1, first), (2, last)]))[0] == "InvalidPart"
    s3.complete_multipart_upload(**complete(s3, bucket, upload, [(1, second), (2, last)]))
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == body + b"end"


def test_parts_that_are_not_named_are_dropped(server, bucket):
    s3 = server.client("s3")
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")
    bodies = [os.urandom(5 * MIB) for _ in range(3)]
    etags = [upload_part(s3, bucket, upload, i + 1, body) for i, body in enumerate(bodies)]
    s3.complete_multipart_upload(**complete(s3, bucket, upload, [(1, etags[0]), (3, etags[2])]))
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == bodies[0] + bodies[2]


def test_what_is_refused(server, bucket):
    s3 = server.client("s3")
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")
    big, small = os.urandom(5 * MIB), b"small"
    etags = {1: upload_part(s3, bucket, upload, 1, big), 2: upload_part(s3, bucket, upload, 2, small), 3: upload_part(s3, bucket, upload, 3, small)}
    for parts, code in [([(2, etags[2]), (1, etags[1])], "InvalidPartOrder"), ([(1, etags[1]), (1, etags[1])], "InvalidPartOrder"),
                        ([(1, etags[1]), (2, etags[2]), (3, etags[3])], "EntityTooSmall"),
                        ([(1, '"0123456789abcdef0123456789abcdef"')], "InvalidPart"), ([(4, etags[1])], "InvalidPart")]:
        assert refusal(s3.complete_multipart_upload, **complete(s3, bucket, upload, parts))[0] == code
    assert refusal(s3.complete_multipart_upload, Bucket=bucket, Key="k", UploadId=upload["UploadId"], MultipartUpload={"Parts": []})[0] == "MalformedXML"
    for number in (0, 10001):
        assert refusal(s3.upload_part, Bucket=bucket, Key="k", UploadId=upload["UploadId"], PartNumber=number, Body=b"x")[0] == "InvalidArgument"
    assert refusal(s3.upload_part, Bucket=bucket, Key="other", UploadId=upload["UploadId"], PartNumber=1, Body=b"x")[0] == "NoSuchUpload"
    assert refusal(s3.upload_part, Bucket=bucket, Key="k", UploadId="made-up", PartNumber=1, Body=b"x")[0] == "NoSuchUpload"
    s3.complete_multipart_upload(**complete(s3, bucket, upload, [(1, etags[1]), (2, etags[2])]))
    assert s3.head_object(Bucket=bucket, Key="k")["ContentLength"] == len(big) + len(small)


def test_aborting(server, bucket):
    s3 = server.client("s3")
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")
    etag = upload_part(s3, bucket, upload, 1, b"x")
    s3.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=upload["UploadId"])
    assert gone(s3, bucket, upload)
    assert refusal(s3.complete_multipart_upload, **complete(s3, bucket, upload, [(1, etag)]))[0] == "NoSuchUpload"
    assert refusal(s3.abort_multipart_upload, Bucket=bucket, Key="k", UploadId=upload["UploadId"])[0] == "NoSuchUpload"


def test_listing_uploads(server, bucket):
    s3 = server.client("s3")
    uploads = [s3.create_multipart_upload(Bucket=bucket, Key=key) for key in ("a/1", "a/2", "a/2", "b")]
    wanted = sorted((one["Key"], one["UploadId"]) for one in uploads)
    for page in (1, 2, 1000):
        seen = []
        for answer in s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, PaginationConfig={"PageSize": page}):
            seen += [(one["Key"], one["UploadId"]) for one in answer.get("Uploads", [])]
        assert seen == wanted
    grouped = s3.list_multipart_uploads(Bucket=bucket, Delimiter="/")
    assert [one["Prefix"] for one in grouped["CommonPrefixes"]] == ["a/"] and [one["Key"] for one in grouped["Uploads"]] == ["b"]
    for one in uploads:
        s3.abort_multipart_upload(Bucket=bucket, Key=one["Key"], UploadId=one["UploadId"])


def test_copied_parts(server, bucket):
    s3 = server.client("s3")
    body = os.urandom(11 * MIB)
    s3.put_object(Bucket=bucket, Key="from", Body=body)
    upload = s3.create_multipart_upload(Bucket=bucket, Key="to")
    source = {"Bucket": bucket, "Key": "from"}
    parts = []
    for number, (first, last) in enumerate([(0, 6 * MIB - 1), (6 * MIB, 11 * MIB - 1)], 1):
        copied = s3.upload_part_copy(Bucket=bucket, Key="to", UploadId=upload["UploadId"], PartNumber=number, CopySource=source,
                                     CopySourceRange=f"bytes={first}-{last}")
        parts.append((number, copied["CopyPartResult"]["ETag"]))
    assert refusal(s3.upload_part_copy, Bucket=bucket, Key="to", UploadId=upload["UploadId"], PartNumber=3, CopySource=source,
                   CopySourceRange=f"bytes=0-{11 * MIB}")[0] in ("InvalidRange", "InvalidArgument")
    s3.complete_multipart_upload(**complete(s3, bucket, upload, parts))
    assert s3.get_object(Bucket=bucket, Key="to")["Body"].read() == body


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_boto3_transfers(server, bucket, secure, tmp_path):
    from boto3.s3.transfer import TransferConfig

    s3 = server.client("s3", secure=secure, max_pool_connections=10)
    body = os.urandom(50 * MIB + 17)
    config = TransferConfig(multipart_threshold=8 * MIB, multipart_chunksize=8 * MIB, max_concurrency=10)
    s3.upload_fileobj(io.BytesIO(body), bucket, "k", Config=config)
    assert s3.head_object(Bucket=bucket, Key="k")["ETag"].endswith('-7"')
    s3.download_file(bucket, "k", str(tmp_path / "k"), Config=config)
    assert (tmp_path / "k").read_bytes() == body
    s3.copy({"Bucket": bucket, "Key": "k"}, bucket, "copied", Config=config)
    assert s3.get_object(Bucket=bucket, Key="copied")["Body"].read() == body


def test_uploads_of_one_key_do_not_mix(server, bucket):
    def work(i):
        s3 = server.client("s3")
        bodies = [bytes([i]) * (5 * MIB), bytes([i]) * 100]
        upload = s3.create_multipart_upload(Bucket=bucket, Key="k")
        parts = [(number, upload_part(s3, bucket, upload, number, body)) for number, body in enumerate(bodies, 1)]
        s3.complete_multipart_upload(**complete(s3, bucket, upload, parts))

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    got = server.client("s3").get_object(Bucket=bucket, Key="k")["Body"].read()
    assert got == got[:1] * (5 * MIB + 100)
