"""S3 by the AWS CLI of the distribution: cp, sync, ls, rm, mv, mb, rb, presign; files from nothing to 2 GB."""

import filecmp
import hashlib
import os
import urllib.request

import pytest
from harness import unique_name


def write(path, size, seed=b"x"):
    """A file whose every MiB differs, made quickly."""
    path.parent.mkdir(parents=True, exist_ok=True)
    block = os.urandom(1 << 20)
    with open(path, "wb") as file:
        for at in range(0, size, len(block)):
            file.write((at.to_bytes(8, "big") + seed + block)[:min(len(block), size - at)])
    return path


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("size", [0, 1, 65_537, 8 << 20, 30_000_000])
def test_cp_up_and_down(server, bucket, tmp_path, secure, size):
    there, back = write(tmp_path / "there", size), tmp_path / "back"
    server.aws("s3", "cp", "--only-show-errors", there, f"s3://{bucket}/a/b", secure=secure)
    server.aws("s3", "cp", "--only-show-errors", f"s3://{bucket}/a/b", back, secure=secure)
    assert filecmp.cmp(there, back, shallow=False)


def round_trip(server, bucket, tmp_path, size, secure=False):
    there, back = write(tmp_path / "there", size), tmp_path / "back"
    server.aws("s3", "cp", "--only-show-errors", there, f"s3://{bucket}/big", secure=secure, timeout=900)
    listed = server.aws("s3", "ls", f"s3://{bucket}/big").stdout.split()
    assert int(listed[2]) == size
    server.aws("s3", "cp", "--only-show-errors", f"s3://{bucket}/big", back, secure=secure, timeout=900)
    assert filecmp.cmp(there, back, shallow=False)


def test_300_megabytes(server, bucket, tmp_path):
    round_trip(server, bucket, tmp_path, 300_000_001)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_2_gigabytes(server, bucket, tmp_path, secure):
    round_trip(server, bucket, tmp_path, 2 << 30, secure)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_2_gigabytes_in_one_put(server, bucket, tmp_path):
    path = write(tmp_path / "there", 2 << 30)
    digest = hashlib.md5()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
        file.seek(0)
        s3 = server.client("s3")
        assert s3.put_object(Bucket=bucket, Key="k", Body=file)["ETag"] == f'"{digest.hexdigest()}"'
    got = hashlib.md5()
    for block in s3.get_object(Bucket=bucket, Key="k")["Body"].iter_chunks(1 << 20):
        got.update(block)
    assert got.digest() == digest.digest()


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_sync_both_ways(server, bucket, tmp_path, secure):
    there, back = tmp_path / "there", tmp_path / "back"
    for name, size in [("empty", 0), ("a/small", 10), ("a/deep/er/file", 100_000), ("with space/ü+%.txt", 5), ("large", 9 << 20)]:
        write(there / name, size)
    up, down = ("s3", "sync", there, f"s3://{bucket}/p"), ("s3", "sync", f"s3://{bucket}/p", back)
    assert server.aws(*up, secure=secure).stdout.count("upload: ") == 5
    assert server.aws(*up, secure=secure).stdout == "", "a second run copies nothing"
    assert server.aws(*down, secure=secure).stdout.count("download: ") == 5
    assert server.aws(*down, secure=secure).stdout == ""
    assert tree(back) == tree(there)

    (there / "a/small").unlink()
    (there / "empty").write_bytes(b"no more")
    (there / "new").write_bytes(b"new")
    changed = server.aws(*up, "--delete", secure=secure).stdout
    assert changed.count("upload: ") == 2 and changed.count("delete: ") == 1
    server.aws(*down, "--delete", secure=secure)
    assert tree(back) == tree(there)


def test_empty_files_hold_up_nothing(server, bucket, tmp_path):
    """This CLI asks before it sends even an empty body. Without a 100 to that, it takes the 100 on the connection's next
    request for the answer, and waits for more until its timeout."""
    for turn in range(10):
        write(tmp_path / f"{turn}-empty", 0)
        write(tmp_path / f"{turn}-full", 10)
    config = tmp_path.parent / "config"
    config.write_text("[default]\ns3 =\n  max_concurrent_requests = 1\n")
    server.aws("s3", "sync", "--cli-read-timeout", "5", tmp_path, f"s3://{bucket}/",
               environment={"AWS_CONFIG_FILE": str(config), "AWS_MAX_ATTEMPTS": "1"})


def test_ls_rm_mv(server, bucket, tmp_path):
    s3 = server.client("s3")
    for key in ("a", "a/1", "a/2/x", "b"):
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())

    def names(*arguments):
        return [line.split()[-1] for line in server.aws("s3", "ls", *arguments).stdout.splitlines()]

    assert names(f"s3://{bucket}") == ["a/", "a", "b"]
    assert names(f"s3://{bucket}/a/") == ["2/", "1"]
    assert names("--recursive", f"s3://{bucket}") == ["a", "a/1", "a/2/x", "b"]
    summary = server.aws("s3", "ls", "--recursive", "--summarize", f"s3://{bucket}").stdout
    assert "Total Objects: 4" in summary and "Total Size: 10" in summary
    server.aws("s3", "mv", f"s3://{bucket}/b", f"s3://{bucket}/c/d")
    server.aws("s3", "rm", f"s3://{bucket}/a")
    assert names("--recursive", f"s3://{bucket}") == ["a/1", "a/2/x", "c/d"]
    assert server.aws("s3", "rm", "--recursive", f"s3://{bucket}").stdout.count("delete: ") == 3
    assert server.aws("s3", "ls", f"s3://{bucket}/a", check=False).returncode == 1


def test_buckets_by_mb_and_rb(server):
    name = unique_name("cli")
    server.aws("s3", "mb", f"s3://{name}")
    assert name in server.aws("s3", "ls").stdout
    server.aws("s3", "cp", "-", f"s3://{name}/from-a-pipe", input="piped")
    assert server.aws("s3", "cp", f"s3://{name}/from-a-pipe", "-").stdout == "piped"
    assert server.aws("s3", "rb", f"s3://{name}", check=False).returncode != 0
    server.aws("s3", "rb", "--force", f"s3://{name}")
    assert name not in server.aws("s3", "ls").stdout


def test_presign(server, bucket):
    server.client("s3").put_object(Bucket=bucket, Key="k", Body=b"presigned")
    url = server.aws("s3", "presign", f"s3://{bucket}/k").stdout.strip()
    assert urllib.request.urlopen(url).read() == b"presigned"


def test_s3api(server, bucket, tmp_path):
    body = write(tmp_path / "body", 100_000)
    for algorithm in ("CRC32", "SHA1", "SHA256"):
        server.aws("s3api", "put-object", "--bucket", bucket, "--key", "k", "--body", body, "--checksum-algorithm", algorithm)
        server.aws("s3api", "get-object", "--bucket", bucket, "--key", "k", "--checksum-mode", "ENABLED", tmp_path / "back")
        assert filecmp.cmp(body, tmp_path / "back", shallow=False)
    error = server.aws("s3api", "get-object", "--bucket", bucket, "--key", "none", tmp_path / "none", check=False).stderr
    assert "(NoSuchKey) when calling the GetObject operation: The specified key does not exist." in error


def test_by_another_user_of_the_machine(user_server, tmp_path):
    """The same server, run by an ordinary user."""
    there = write(tmp_path / "there", 20_000_000)
    bucket = user_server.bucket
    user_server.aws("s3", "cp", "--only-show-errors", there, f"s3://{bucket}/t/k")
    user_server.aws("s3", "cp", "--only-show-errors", f"s3://{bucket}/t/k", tmp_path / "back")
    assert filecmp.cmp(there, tmp_path / "back", shallow=False)
    user_server.aws("s3", "rm", f"s3://{bucket}/t/k")
