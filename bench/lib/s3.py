"""bench/s3: see there. One client for all: sockets of Python that send requests signed beforehand for the large object,
wrk for the small ones; both cost the same whoever answers."""

import argparse
import concurrent.futures
import hashlib
import importlib.metadata
import json
import mmap
import os
import pathlib
import platform
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import boto3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from api import BIN, REGION, ROOT, free_port, wait_for, wait_for_port

BUCKET = "bench"
NGINX = """
worker_processes auto; daemon off; pid {scratch}/nginx.pid; error_log {scratch}/nginx.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nopush on; tcp_nodelay on;
  client_body_temp_path {scratch}/n1; proxy_temp_path {scratch}/n2; fastcgi_temp_path {scratch}/n3;
  uwsgi_temp_path {scratch}/n4; scgi_temp_path {scratch}/n5;
  server {{ listen 127.0.0.1:{port}; root {scratch}/served; }}
}}
"""


class Peer:
    def __init__(self, name, port, key, secret):
        self.name, self.port = name, port
        self.credentials = Credentials(key, secret)
        self.s3 = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", region_name=REGION, aws_access_key_id=key,
                               aws_secret_access_key=secret, config=Config(retries={"total_max_attempts": 1}, read_timeout=600))

    def head(self, method, key, size=None, sha256=None):
        """A request's head as an SDK would sign it, with the body's SHA-256 among what is signed."""
        request = AWSRequest(method, f"http://127.0.0.1:{self.port}/{BUCKET}/{key}")
        auth = S3SigV4Auth(self.credentials, "s3", REGION)
        auth.payload = lambda _: sha256 or hashlib.sha256(b"").hexdigest()
        auth.add_auth(request)
        headers = dict(request.headers.items()) | {"Host": f"127.0.0.1:{self.port}"}
        if size is not None:
            headers["Content-Length"] = str(size)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"{method} /{BUCKET}/{key} HTTP/1.1\r\n{lines}\r\n".encode()


def read_head(connection):
    received = b""
    while b"\r\n\r\n" not in received:
        some = connection.recv(65536)
        if not some:
            sys.exit(f"the connection ended in {received!r}")
        received += some
    head, _, body = received.partition(b"\r\n\r\n")
    if not head.split(b" ", 2)[1].startswith(b"200"):
        sys.exit(f"not answered with success: {received!r}")
    length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    return length, body


def get_large(port, head, into):
    """Seconds of one GET, the body read into `into`."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        began = time.perf_counter()
        connection.sendall(head)
        length, body = read_head(connection)
        if length != len(into):
            sys.exit(f"{length} bytes came instead of {len(into)}")
        into[:len(body)] = body
        view, at = memoryview(into), len(body)
        while at < length:
            count = connection.recv_into(view[at:at + (1 << 20)])
            if count == 0:
                sys.exit("the body ended early")
            at += count
        return time.perf_counter() - began


def put_large(port, head, body):
    with socket.create_connection(("127.0.0.1", port)) as connection:
        began = time.perf_counter()
        connection.sendall(head)
        view = memoryview(body)
        for at in range(0, len(view), 1 << 20):
            connection.sendall(view[at:at + (1 << 20)])
        read_head(connection)
        return time.perf_counter() - began


def small_load(peer, requests, connections, seconds, scratch):
    """wrk over pre-signed requests, one after the other, round and round: answers a second."""
    path = scratch / f"requests-{peer.name}"
    path.write_bytes(b"\0".join(requests))
    output = subprocess.run(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", ROOT / "bench/lib/api.lua",
                             f"http://127.0.0.1:{peer.port}/", "--", path], capture_output=True, text=True, check=True).stdout
    count, duration_us, _, _, errors = map(int, [line for line in output.splitlines() if line.startswith("RESULT ")][0].split()[1:])
    if errors:
        sys.exit(f"{peer.name}: {errors} of {count} requests failed\n{output}")
    return count / duration_us * 1e6


def check_small(peer, bodies):
    """All are there, and those looked at are what was put."""
    found = {}
    for page in peer.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="small/"):
        found |= {item["Key"]: item["ETag"].strip('"') for item in page["Contents"]}
    wanted = {f"small/{i}": hashlib.md5(body).hexdigest() for i, body in enumerate(bodies)}
    if found != wanted:
        sys.exit(f"{peer.name} holds other small objects than were put")
    for i in range(0, len(bodies), max(1, len(bodies) // 50)):
        if peer.s3.get_object(Bucket=BUCKET, Key=f"small/{i}")["Body"].read() != bodies[i]:
            sys.exit(f"{peer.name} gives back another small/{i} than was put")


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=int, default=3, help="of each round of small objects")
    options.add_argument("--large-mb", type=int, default=1000)
    options.add_argument("--small-count", type=int, default=5000)
    options.add_argument("--small-bytes", type=int, default=10_000)
    options.add_argument("--connections", type=int, default=8)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--only", choices=["large", "small"])
    arguments = options.parse_args()
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="athanor-bench-", dir="/var/tmp"))
    scratch.chmod(0o755)  # nginx's workers are not root
    data, processes = scratch / "data", []
    try:
        quiet = open(scratch / "log", "ab")

        def start(*command):
            processes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=quiet, stderr=quiet, start_new_session=True))
            return processes[-1]

        port, moto_port, nginx_port = free_port(), free_port(), free_port()
        wait_for_port(port, start(BIN / "athanor", "up", "--data-dir", data, "--listen", f"127.0.0.1:{port}"))
        wait_for_port(moto_port, start(pathlib.Path(sys.executable).with_name("moto_server"), "-p", str(moto_port)))
        (scratch / "served").mkdir()
        (scratch / "nginx.conf").write_text(NGINX.format(scratch=scratch, port=nginx_port))
        wait_for_port(nginx_port, start("/usr/sbin/nginx", "-c", str(scratch / "nginx.conf")))
        wait_for((data / "endpoint").exists, "the server to say where it is")
        environment = json.loads(subprocess.run([BIN / "athanor", "env", "--data-dir", data, "--json"], check=True,
                                                capture_output=True, text=True).stdout)
        athanor = Peer("athanor", port, environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"])
        moto = Peer("moto_server", moto_port, "bench", "bench")
        for peer in (athanor, moto):
            peer.s3.create_bucket(Bucket=BUCKET)

        versions = {"nginx": subprocess.run(["/usr/sbin/nginx", "-v"], capture_output=True, text=True).stderr.split("/")[-1].strip(),
                    "athanor": subprocess.run([BIN / "athanor", "--version"], capture_output=True, text=True).stdout.strip(),
                    "wrk": subprocess.run(["wrk", "-v"], capture_output=True, text=True).stdout.split("[")[0].strip()}
        print(f"{versions['athanor']}; moto {importlib.metadata.version('moto')} on Python {platform.python_version()}; nginx {versions['nginx']}; "
              f"{versions['wrk']}; {os.cpu_count()} processors\nathanor: signatures and bodies verified, durable when acknowledged (fsync). "
              "moto_server: in memory, nothing verified. nginx: sendfile, the file in memory\n")
        source = random.Random(arguments.seed)
        if arguments.only != "small":
            large(athanor, moto, nginx_port, arguments, scratch, source)
        if arguments.only != "large":
            small(athanor, moto, arguments, scratch, source)
    finally:
        subprocess.run([BIN / "athanor", "down", "--data-dir", data], capture_output=True, timeout=120)
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(scratch, ignore_errors=True)


def large(athanor, moto, nginx_port, arguments, scratch, source):
    size = arguments.large_mb * 1_000_000
    block = source.randbytes(1 << 20)
    body = mmap.mmap(-1, size)
    for at in range(0, size, len(block)):
        piece = (at.to_bytes(8, "big") + block)[:min(len(block), size - at)]
        body[at:at + len(piece)] = piece
    sha256, md5 = hashlib.sha256(body).hexdigest(), hashlib.md5(body).hexdigest()
    with open(scratch / "served/large", "wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    into = mmap.mmap(-1, size)
    into[:] = body  # its pages are there, and are ours to overwrite

    print(f"{arguments.large_mb} MB in one request, GB/s\n{'round':>5} {'put athanor':>12} {'put moto':>9} {'get athanor':>12} {'get nginx':>10}")
    plain = f"GET /large HTTP/1.1\r\nHost: 127.0.0.1:{nginx_port}\r\n\r\n".encode()
    puts, gets = [], []
    for number in range(1, arguments.rounds + 1):
        ours = put_large(athanor.port, athanor.head("PUT", "large", size, sha256), body)
        theirs = put_large(moto.port, moto.head("PUT", "large", size, sha256), body) if number <= 3 else theirs
        get_ours, get_nginx = [], []
        for turn in range(6):
            for times, port, head in ((get_ours, athanor.port, athanor.head("GET", "large")), (get_nginx, nginx_port, plain)):
                into[0:8] = b"\xff" * 8
                times.append(get_large(port, head, into))
                if turn == 0 and hashlib.md5(into).hexdigest() != md5:
                    sys.exit("a GET gave back another body than was put")
        get_ours, get_nginx = statistics.median(get_ours), statistics.median(get_nginx)
        puts.append(theirs / ours)
        gets.append(get_nginx / get_ours)
        print(f"{number:>5} {size / ours / 1e9:>12.2f} {size / theirs / 1e9:>9.2f} {size / get_ours / 1e9:>12.2f} {size / get_nginx / 1e9:>10.2f}", flush=True)
    for peer in (athanor, moto):
        if peer.s3.head_object(Bucket=BUCKET, Key="large")["ContentLength"] != size:
            sys.exit(f"{peer.name} holds another large object than was put")
        peer.s3.delete_object(Bucket=BUCKET, Key="large")
    print(f"\nfigure get_1gb_of_nginx {statistics.median(gets):.3f} fraction")
    print(f"ratio put_1gb_vs_moto {statistics.median(puts):.2f}\n", flush=True)


def small(athanor, moto, arguments, scratch, source):
    alphabet = bytes(range(33, 127))  # requests are parted by zeros in a file
    bodies = [bytes(source.choices(alphabet, k=arguments.small_bytes)) for _ in range(arguments.small_count)]
    digests = [hashlib.sha256(body).hexdigest() for body in bodies]
    print(f"{arguments.small_count} objects of {arguments.small_bytes} bytes, {arguments.connections} connections, objects/s")
    print(f"{'round':>5} {'put athanor':>12} {'put moto':>9} {'get athanor':>12} {'get moto':>9}")
    for peer in (athanor, moto):  # all are there before the first round
        with concurrent.futures.ThreadPoolExecutor(arguments.connections) as pool:
            list(pool.map(lambda i: peer.s3.put_object(Bucket=BUCKET, Key=f"small/{i}", Body=bodies[i]), range(len(bodies))))
        check_small(peer, bodies)
    puts, gets = [], []
    for number in range(1, arguments.rounds + 1):
        rates = []
        for method in ("PUT", "GET"):
            for peer in (athanor, moto):
                requests = [peer.head(method, f"small/{i}", len(body), digests[i]) + body if method == "PUT" else peer.head(method, f"small/{i}")
                            for i, body in enumerate(bodies)]
                rates.append(small_load(peer, requests, arguments.connections, arguments.seconds, scratch))
        puts.append(rates[0] / rates[1])
        gets.append(rates[2] / rates[3])
        print(f"{number:>5} {rates[0]:>12.0f} {rates[1]:>9.0f} {rates[2]:>12.0f} {rates[3]:>9.0f}", flush=True)
    for peer in (athanor, moto):
        check_small(peer, bodies)
    print(f"\nratio get_small_vs_moto {statistics.median(gets):.1f}")
    print(f"ratio put_small_vs_moto {statistics.median(puts):.1f}")


if __name__ == "__main__":
    main()
