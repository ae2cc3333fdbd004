"""The README's annotated tree is the real one."""

import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
NOT_SHOWN = {"LICENSE", "README.md"}


def tree_of_readme():
    """Paths of the tree in the README: {'common/', 'engine/tensor/', 'Makefile'}."""
    block = re.search(r"```\nathanor/\n(.*?)```", (ROOT / "README.md").read_text(), re.S)[1]
    paths, above = set(), []
    for line in block.splitlines():
        match = re.match(r"^((?:│   |    )*)[├└]── (\S+)", line)
        if not match:
            continue
        depth = len(match[1]) // 4
        above[depth:] = [match[2]]
        paths.add("".join(above))
    return paths


def tracked():
    names = subprocess.run(["git", "-C", ROOT, "ls-files"], capture_output=True, text=True, check=True).stdout.splitlines()
    top = {name.split("/")[0] + ("/" if "/" in name else "") for name in names if not name.startswith(".")}
    rooms = {"/".join(name.split("/")[:2]) + "/" for name in names if re.match(r"(engine|platform)/[^/]+/", name)}
    return (top | rooms) - NOT_SHOWN


def test_the_tree_is_the_real_one():
    assert tree_of_readme() == tracked()


def test_links_lead_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"
