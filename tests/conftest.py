"""Fixtures of all end-to-end tests; see harness.py."""

import os
import subprocess

import pytest

from harness import Identity, Server, ordinary_user


@pytest.fixture(scope="session")
def identity():
    """Whoever runs the tests."""
    one = Identity()
    yield one
    one.close()


@pytest.fixture(scope="session")
def user_identity():
    """An ordinary user, also when root runs the tests."""
    one = Identity(ordinary_user())
    yield one
    one.close()


@pytest.fixture(scope="session")
def server(identity):
    """One server for the whole session, shared by tests that leave it as they found it."""
    one = Server(identity).start()
    yield one
    one.close()


@pytest.fixture(scope="session")
def user_server(user_identity):
    """The same, run by an ordinary user."""
    one = Server(user_identity).start()
    yield one
    one.close()


@pytest.fixture(params=["root", "user"] if os.getuid() == 0 else ["user"])
def any_server(request):
    """The shared server, as root and as an ordinary user when root runs the tests."""
    return request.getfixturevalue("server" if request.param == "root" or os.getuid() != 0 else "user_server")


def _fresh(identity):
    servers = []

    def make(*arguments, data_dir=None, start=True):
        one = Server(identity, data_dir, arguments)
        servers.append(one)
        return one.start() if start else one

    yield make
    for one in servers:
        one.close()


@pytest.fixture
def new_server(identity):
    """new_server(*arguments of `athanor up`) starts a server of the test's own, for tests that kill or fill it."""
    yield from _fresh(identity)


@pytest.fixture(params=["root", "user"] if os.getuid() == 0 else ["user"])
def new_any_server(request):
    """new_server, as root and as an ordinary user."""
    yield from _fresh(request.getfixturevalue("identity" if request.param == "root" else "user_identity"))


@pytest.fixture
def make_disk(tmp_path_factory):
    """make_disk(MEGABYTES): a folder on a disk of its own. Mounting needs root, or sudo as `make test` does."""
    made = []
    sudo = [] if os.getuid() == 0 else ["sudo", "-n"]

    def make(megabytes):
        folder = tmp_path_factory.mktemp("disk")
        options = f"size={megabytes}m,mode=0700,uid={os.getuid()},gid={os.getgid()}"
        subprocess.run([*sudo, "mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
        made.append(folder)
        return folder

    yield make
    for folder in made:
        subprocess.run([*sudo, "umount", "-l", folder], check=True)


@pytest.fixture
def bucket(server):
    """A new bucket on the shared server, emptied and removed afterwards."""
    import uuid

    name = f"test-{uuid.uuid4().hex[:12]}"
    s3 = server.client("s3")
    s3.create_bucket(Bucket=name)
    yield name
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=name):
        for item in page.get("Contents", []):
            s3.delete_object(Bucket=name, Key=item["Key"])
    s3.delete_bucket(Bucket=name)
