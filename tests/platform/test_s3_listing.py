"""S3: listings, with prefixes, delimiters and pages, in both versions."""

import concurrent.futures

import pytest
from harness import refusal, unique_name

KEYS = ["a", "a/b", "a/b/c", "a/c", "a/é", "b/1", "b/2", "b0", "photos/2026/a b.jpg", "photos/2026/c+d.jpg", "photos/index", "z%7E", "日本/1"]


@pytest.fixture(scope="module")
def filled(server):
    """A bucket with KEYS, and a client."""
    s3, name = server.client("s3"), unique_name("listing")
    s3.create_bucket(Bucket=name)
    for key in KEYS:
        s3.put_object(Bucket=name, Key=key, Body=key.encode())
    yield s3, name
    s3.delete_objects(Bucket=name, Delete={"Objects": [{"Key": key} for key in KEYS]})
    s3.delete_bucket(Bucket=name)


def expected(prefix, delimiter):
    """What the API's reference says a listing holds: keys, and prefixes up to the first delimiter after the prefix."""
    keys, groups = [], []
    for key in sorted(KEYS, key=str.encode):
        if not key.startswith(prefix):
            continue
        at = key.find(delimiter, len(prefix)) if delimiter else -1
        if at < 0:
            keys.append(key)
        elif key[:at + len(delimiter)] not in groups:
            groups.append(key[:at + len(delimiter)])
    return keys, groups


@pytest.mark.parametrize("operation", ["list_objects", "list_objects_v2"])
@pytest.mark.parametrize("page", [1, 2, 3, 1000])
@pytest.mark.parametrize("prefix,delimiter", [("", ""), ("", "/"), ("a", "/"), ("a/", "/"), ("photos/", "/"), ("photos/2026/", "/"),
                                              ("b", ""), ("", "b"), ("日", "/"), ("nothing", "/")])
def test_listing_by_pages(filled, operation, page, prefix, delimiter):
    s3, bucket = filled
    keys, groups = [], []
    pages = s3.get_paginator(operation).paginate(Bucket=bucket, Prefix=prefix, PaginationConfig={"PageSize": page},
                                                 **({"Delimiter": delimiter} if delimiter else {}))
    for answer in pages:
        here = [item["Key"] for item in answer.get("Contents", [])] + [item["Prefix"] for item in answer.get("CommonPrefixes", [])]
        assert len(here) <= page
        assert answer["IsTruncated"] is False or len(here) == page
        keys += [item["Key"] for item in answer.get("Contents", [])]
        groups += [item["Prefix"] for item in answer.get("CommonPrefixes", [])]
        assert all(item["Size"] == len(item["Key"].encode()) for item in answer.get("Contents", []))
    assert (keys, groups) == expected(prefix, delimiter)


def test_where_a_listing_starts(filled):
    s3, bucket = filled
    order = sorted(KEYS, key=str.encode)
    after = [item["Key"] for item in s3.list_objects_v2(Bucket=bucket, StartAfter="a/b/c")["Contents"]]
    assert after == order[order.index("a/b/c") + 1:]
    assert [item["Key"] for item in s3.list_objects(Bucket=bucket, Marker="a/b/c")["Contents"]] == after
    assert [item["Key"] for item in s3.list_objects_v2(Bucket=bucket, StartAfter="a/b/b~")["Contents"]][0] == "a/b/c"


def test_the_little_things(filled):
    s3, bucket = filled
    nothing = s3.list_objects_v2(Bucket=bucket, MaxKeys=0)
    assert nothing["KeyCount"] == 0 and nothing["IsTruncated"] is False
    owned = s3.list_objects_v2(Bucket=bucket, FetchOwner=True, MaxKeys=1)["Contents"][0]
    assert owned["Owner"]["ID"] == "000000000000" and owned["StorageClass"] == "STANDARD"
    assert refusal(s3.list_objects_v2, Bucket=bucket, ContinuationToken="made up")[0] == "InvalidArgument"
    assert refusal(s3.list_objects_v2, Bucket=bucket, MaxKeys=-1)[0] == "InvalidArgument"


def test_a_page_holds_a_thousand(server, bucket):
    s3 = server.client("s3", max_pool_connections=8)
    keys = [f"{i:05d}" for i in range(1203)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: s3.put_object(Bucket=bucket, Key=key, Body=b""), keys))
    first = s3.list_objects_v2(Bucket=bucket, MaxKeys=5000)
    assert first["KeyCount"] == 1000 and first["IsTruncated"] and first["MaxKeys"] == 1000
    second = s3.list_objects_v2(Bucket=bucket, ContinuationToken=first["NextContinuationToken"])
    assert [item["Key"] for item in first["Contents"] + second["Contents"]] == keys
    for i in range(0, len(keys), 1000):
        s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys[i:i + 1000]]})
