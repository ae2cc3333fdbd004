"""S3: buckets and single objects, as boto3 uses them, over http and https."""

import concurrent.futures
import datetime
import hashlib
import io
import os
import re
import time
import urllib.error
import urllib.request

import pytest
from harness import refusal, unique_name

KEYS = ["a", "a/b", "a//b", "a/", "with space", "plus+and%25", "ünïcödé/日本語/😀", "x/../y", "dots/.../..x", "tab\tnewline\n",
        "quote\"'<&>", "?query=1&b#fragment", "~tilde-_.!*()", "%2F", "z" * 1024]


@pytest.fixture(params=[False, True], ids=["http", "https"])
def s3(request, server):
    return server.client("s3", secure=request.param)


def test_buckets(s3):
    name = unique_name("bucket")
    assert s3.create_bucket(Bucket=name)["Location"] == f"/{name}"
    assert name in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
    assert s3.head_bucket(Bucket=name)["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert s3.get_bucket_location(Bucket=name)["LocationConstraint"] is None
    s3.put_object(Bucket=name, Key="held", Body=b"x")
    assert refusal(s3.delete_bucket, Bucket=name)[0] == "BucketNotEmpty"
    s3.delete_object(Bucket=name, Key="held")
    s3.delete_bucket(Bucket=name)
    assert refusal(s3.head_bucket, Bucket=name)[0] == "404"
    assert refusal(s3.delete_bucket, Bucket=name)[0] == "NoSuchBucket"
    assert refusal(s3.put_object, Bucket=name, Key="k", Body=b"")[0] == "NoSuchBucket"
    assert refusal(s3.list_objects_v2, Bucket=name)[0] == "NoSuchBucket"


@pytest.mark.parametrize("name", ["ab", "Upper", "under_score", "1.2.3.4", "-dash", "x" * 64, "two..dots"])
def test_names_that_are_no_buckets(server, name):
    s3 = server.client("s3")
    s3.meta.events.unregister("before-parameter-build.s3", None)
    from botocore.handlers import validate_bucket_name

    s3.meta.events.unregister("before-parameter-build.s3", validate_bucket_name)
    assert refusal(s3.create_bucket, Bucket=name)[0] == "InvalidBucketName"


@pytest.mark.parametrize("size", [0, 1, 10_000, 64 << 10, (64 << 10) + 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 9_000_001])
def test_what_is_put_comes_back(s3, bucket, size):
    body = os.urandom(size)
    etag = s3.put_object(Bucket=bucket, Key="k", Body=body, ContentType="text/x-test", Metadata={"who": "me"})["ETag"]
    assert etag == f'"{hashlib.md5(body).hexdigest()}"'
    got = s3.get_object(Bucket=bucket, Key="k")
    assert got["Body"].read() == body
    head = s3.head_object(Bucket=bucket, Key="k")
    for answer in (got, head):
        assert (answer["ContentLength"], answer["ETag"], answer["ContentType"], answer["Metadata"]) == (size, etag, "text/x-test", {"who": "me"})
        assert abs(answer["LastModified"] - datetime.datetime.now(datetime.timezone.utc)) < datetime.timedelta(minutes=1)


@pytest.mark.parametrize("size", [100, 200_000])
def test_ranges(server, bucket, size):
    s3 = server.client("s3")
    body = os.urandom(size)
    s3.put_object(Bucket=bucket, Key="k", Body=body)
    for text, first, last in [("0-0", 0, 0), ("10-19", 10, 19), ("50-", 50, size - 1), ("-7", size - 7, size - 1),
                              (f"90-{10 * size}", 90, size - 1), (f"-{10 * size}", 0, size - 1)]:
        got = s3.get_object(Bucket=bucket, Key="k", Range=f"bytes={text}")
        assert got["Body"].read() == body[first:last + 1], text
        assert got["ContentRange"] == f"bytes {first}-{last}/{size}"
        assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert refusal(s3.get_object, Bucket=bucket, Key="k", Range=f"bytes={size}-")[0] == "InvalidRange"
    assert s3.get_object(Bucket=bucket, Key="k", Range="lines=1-2")["ContentLength"] == size


def test_conditions_of_reads(server, bucket):
    s3 = server.client("s3")
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"one")["ETag"]
    now = datetime.datetime.now(datetime.timezone.utc)
    before, after = now - datetime.timedelta(hours=1), now + datetime.timedelta(hours=1)
    for call in (s3.get_object, s3.head_object):
        for fine in ({"IfMatch": etag}, {"IfNoneMatch": '"other"'}, {"IfModifiedSince": before}, {"IfUnmodifiedSince": after},
                     {"IfMatch": etag, "IfUnmodifiedSince": before}):
            assert call(Bucket=bucket, Key="k", **fine)["ETag"] == etag
        for condition, code in [({"IfNoneMatch": etag}, "304"), ({"IfModifiedSince": after}, "304")]:
            assert refusal(call, Bucket=bucket, Key="k", **condition)[0] == code
    for condition in ({"IfMatch": '"other"'}, {"IfUnmodifiedSince": before}):
        assert refusal(s3.get_object, Bucket=bucket, Key="k", **condition)[0] == "PreconditionFailed"
        assert refusal(s3.head_object, Bucket=bucket, Key="k", **condition)[0] == "412"


def test_conditions_of_writes(server, bucket):
    s3 = server.client("s3")
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"one", IfNoneMatch="*")["ETag"]
    assert refusal(s3.put_object, Bucket=bucket, Key="k", Body=b"two", IfNoneMatch="*")[0] == "PreconditionFailed"
    assert refusal(s3.put_object, Bucket=bucket, Key="k", Body=b"two", IfMatch='"other"')[0] == "PreconditionFailed"
    assert refusal(s3.put_object, Bucket=bucket, Key="absent", Body=b"two", IfMatch=etag)[0] == "NoSuchKey"
    s3.put_object(Bucket=bucket, Key="k", Body=b"two", IfMatch=etag)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"two"


def test_of_many_that_create_one_key_one_wins(server, bucket):
    """If-None-Match: * is decided where the change is made."""
    def create(i):
        try:
            server.client("s3").put_object(Bucket=bucket, Key="lock", Body=str(i).encode(), IfNoneMatch="*")
            return i
        except Exception as error:
            assert "PreconditionFailed" in str(error)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        winners = [i for i in pool.map(create, range(8)) if i is not None]
    assert len(winners) == 1
    assert server.client("s3").get_object(Bucket=bucket, Key="lock")["Body"].read() == str(winners[0]).encode()


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_keys_are_bytes(server, bucket, secure):
    s3 = server.client("s3", secure=secure)
    for i, key in enumerate(KEYS):
        s3.put_object(Bucket=bucket, Key=key, Body=str(i).encode())
    for i, key in enumerate(KEYS):
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == str(i).encode(), key
        assert s3.head_object(Bucket=bucket, Key=key)["ContentLength"] == len(str(i))
    assert [item["Key"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"]] == sorted(KEYS, key=str.encode)
    deleted = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in KEYS if key != "tab\tnewline\n"]})
    assert len(deleted["Deleted"]) == len(KEYS) - 1 and "Errors" not in deleted


@pytest.mark.parametrize("key", ["../up", "a/../../b", "x" * 1025])
def test_keys_that_are_refused(server, bucket, key):
    code, _ = refusal(server.client("s3").put_object, Bucket=bucket, Key=key, Body=b"x")
    assert code == ("KeyTooLongError" if len(key) > 1024 else "InvalidURI")


def test_deleting(server, bucket):
    s3 = server.client("s3")
    keys = [f"k{i}" for i in range(1000)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: s3.put_object(Bucket=bucket, Key=key, Body=b"x"), keys[:100]))
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys]})
    assert sorted(item["Key"] for item in answer["Deleted"]) == sorted(keys), "what is not there is deleted as well"
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    s3.delete_object(Bucket=bucket, Key="never-there")
    s3.put_object(Bucket=bucket, Key="quiet", Body=b"x")
    assert "Deleted" not in s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "quiet"}], "Quiet": True})
    assert refusal(s3.get_object, Bucket=bucket, Key="quiet")[0] == "NoSuchKey"
    assert refusal(s3.head_object, Bucket=bucket, Key="quiet")[0] == "404"


@pytest.mark.parametrize("size", [1000, 300_000])
def test_copying(server, bucket, size):
    s3 = server.client("s3")
    body = os.urandom(size)
    etag = s3.put_object(Bucket=bucket, Key="from/ü +", Body=body, ContentType="text/a", Metadata={"a": "1"})["ETag"]
    source = {"Bucket": bucket, "Key": "from/ü +"}
    assert s3.copy_object(Bucket=bucket, Key="same", CopySource=source)["CopyObjectResult"]["ETag"] == etag
    s3.copy_object(Bucket=bucket, Key="other", CopySource=source, MetadataDirective="REPLACE", ContentType="text/b", Metadata={"b": "2"})
    s3.delete_object(Bucket=bucket, Key="from/ü +")
    same, other = (s3.get_object(Bucket=bucket, Key=key) for key in ("same", "other"))
    assert same["Body"].read() == other["Body"].read() == body
    assert (same["ContentType"], same["Metadata"]) == ("text/a", {"a": "1"})
    assert (other["ContentType"], other["Metadata"]) == ("text/b", {"b": "2"})
    assert refusal(s3.copy_object, Bucket=bucket, Key="x", CopySource=source)[0] == "NoSuchKey"
    same_source = {"Bucket": bucket, "Key": "same"}
    assert refusal(s3.copy_object, Bucket=bucket, Key="same", CopySource=same_source)[0] == "InvalidRequest"
    assert refusal(s3.copy_object, Bucket=bucket, Key="x", CopySource=same_source, CopySourceIfMatch='"no"')[0] == "PreconditionFailed"
    s3.copy_object(Bucket=bucket, Key="same", CopySource=same_source, MetadataDirective="REPLACE", Metadata={"c": "3"})
    assert s3.head_object(Bucket=bucket, Key="same")["Metadata"] == {"c": "3"}


def test_tags(server, bucket):
    s3 = server.client("s3")
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", Tagging="a=1&b=two%20words")
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "two words"}]
    assert s3.get_object(Bucket=bucket, Key="k")["TagCount"] == 2
    s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": [{"Key": "c", "Value": "3"}]})
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == [{"Key": "c", "Value": "3"}]
    s3.delete_object_tagging(Bucket=bucket, Key="k")
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == []


def test_a_reader_keeps_the_version_that_it_began(server, bucket):
    s3 = server.client("s3")
    old = os.urandom(20 << 20)
    s3.put_object(Bucket=bucket, Key="k", Body=old)
    reading = s3.get_object(Bucket=bucket, Key="k")["Body"]
    begun = reading.read(1000)
    s3.put_object(Bucket=bucket, Key="k", Body=b"new")
    assert begun + reading.read() == old
    s3.delete_object(Bucket=bucket, Key="k")


@pytest.mark.parametrize("version", ["as it comes", "s3v4"])
@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_presigned_urls(server, bucket, secure, version):
    """As boto3 makes them unless told otherwise (signature version 2), and of version 4."""
    s3 = server.client("s3", secure=secure, **({"signature_version": version} if version == "s3v4" else {}))
    import ssl

    context = ssl.create_default_context(cafile=server.environment["AWS_CA_BUNDLE"]) if secure else None

    def fetch(url, method="GET", body=None, headers={}):
        request = urllib.request.Request(url, data=body, method=method, headers=headers)
        with urllib.request.urlopen(request, context=context) as answer:
            return answer.read(), answer.headers

    params = {"Bucket": bucket, "Key": "a b/ü"}
    fetch(s3.generate_presigned_url("put_object", Params=params | {"ContentType": "text/x"}), "PUT", b"presigned", {"Content-Type": "text/x"})
    url = s3.generate_presigned_url("get_object", Params=params | {"ResponseContentDisposition": "attachment"})
    body, headers = fetch(url)
    assert body == b"presigned" and headers["Content-Disposition"] == "attachment" and headers["Content-Type"] == "text/x"
    assert fetch(s3.generate_presigned_url("head_object", Params=params), "HEAD")[1]["Content-Length"] == "9"
    signature = re.search(r"Signature=([^&]{4})", url)[1]
    for wrong in (url.replace(signature, "0000" if signature != "0000" else "1111"), url.replace("a%20b", "a%20c"),
                  re.sub(r"Expires=\d+", "Expires=3999999999" if version != "s3v4" else "Expires=9", url)):
        with pytest.raises(urllib.error.HTTPError) as error:
            fetch(wrong)
        assert error.value.code == 403 and b"<Code>SignatureDoesNotMatch</Code>" in error.value.read()
    late = s3.generate_presigned_url("get_object", Params=params, ExpiresIn=1)
    time.sleep(2.1)
    with pytest.raises(urllib.error.HTTPError) as error:
        fetch(late)
    answer = error.value.read()
    assert error.value.code == 403 and b"<Code>AccessDenied</Code><Message>Request has expired</Message>" in answer
    fetch(s3.generate_presigned_url("delete_object", Params=params), "DELETE")
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_the_clis_presigned_urls(server, bucket):
    server.client("s3").put_object(Bucket=bucket, Key="k", Body=b"bytes")
    url = server.aws("s3", "presign", f"s3://{bucket}/k").stdout.strip()
    assert urllib.request.urlopen(url).read() == b"bytes"


def test_version_2_is_for_presigned_urls_alone(server, bucket):
    request = urllib.request.Request(f"{server.endpoint}/{bucket}/k", headers={"Authorization": "AWS AKIA:abc="})
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(request)
    assert error.value.code == 400 and b"is not supported. Please use AWS4-HMAC-SHA256." in error.value.read()


def test_32_clients_at_once(server, bucket):
    """Each reads back what it wrote, small and large, while the others do the same."""
    sizes = [0, 100, 10_000, 70_000, 1_500_000]

    def work(i):
        s3 = server.client("s3", secure=i % 4 == 0)
        for turn in range(5):
            body = os.urandom(sizes[(i + turn) % len(sizes)])
            key = f"{i}/{turn}"
            if turn % 2:
                s3.upload_fileobj(io.BytesIO(body), bucket, key)
            else:
                s3.put_object(Bucket=bucket, Key=key, Body=body)
            assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == body
            s3.put_object(Bucket=bucket, Key="contended", Body=body or b"-")
        return True

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        assert all(pool.map(work, range(32)))
    s3 = server.client("s3")
    assert len(s3.list_objects_v2(Bucket=bucket)["Contents"]) == 32 * 5 + 1
    last = s3.get_object(Bucket=bucket, Key="contended")
    assert hashlib.md5(last["Body"].read()).hexdigest() == last["ETag"].strip('"')
