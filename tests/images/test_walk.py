import json
import os
import random
import threading
import time
from types import SimpleNamespace

import pytest

from featx.errors import IndexingError
from featx.images.finding import walk
from featx.images.finding.walk import FORMAT, list_files, read_cache


def _plant(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def _tick():
    """Wait until the kernel's clock for files has moved on, which a cache without `UNSURE_NS` needs."""
    time.sleep(0.02)


def _by_os_walk(folder):
    """The oracle: hidden names are left out, no link is followed."""
    found = []
    for here, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [os.path.join(here, name) for name in files if not name.startswith(".")]
    return sorted(found)


@pytest.fixture
def tree(tmp_path):
    """Forty participants, some with two sessions, and what must not be listed."""
    folder = tmp_path / "tree"
    for at in range(40):
        sessions = ("ses-1/", "ses-2/") if at % 3 == 0 else ("",)
        _plant(
            folder, *(f"sub-{at:02d}/{one}anat/sub-{at:02d}{end}" for one in sessions for end in (".nii", ".json"))
        )
    _plant(folder, ".git/objects/x.nii", "sub-00/.DS_Store", "README", "lost+found/#12.nii")
    (folder / "empty/within").mkdir(parents=True)
    return folder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The place of a cache, kept for however few folders and however young ones."""
    monkeypatch.setattr(walk, "LEAST", 0)
    monkeypatch.setattr(walk, "UNSURE_NS", -(10**18))
    return tmp_path / "cache/listing.json"


@pytest.fixture
def scanned(monkeypatch):
    """Names of the folders that are listed, as they are."""
    listed, lock, scandir = [], threading.Lock(), os.scandir

    def watched(path):
        with lock:
            listed.append(os.path.basename(path))
        return scandir(path)

    monkeypatch.setattr(walk.os, "scandir", watched)
    return listed


def _wanted(tree):
    return [path for path in _by_os_walk(tree) if "lost+found" not in path]


def test_all_files_are_listed_but_for_hidden_ones(tree):
    assert list_files(tree) == _wanted(tree)
    assert len(_wanted(tree)) == 2 * (40 + 14) + 1


def test_a_relative_folder_gives_absolute_paths(tree, monkeypatch):
    monkeypatch.chdir(tree.parent)
    assert list_files(walk.Path("tree/")) == _wanted(tree)


def test_a_name_may_be_anything(tmp_path, cache):
    odd = [b"a\nb.nii", b"\xff\xfe.nii", "größe.nii".encode(), b"a  b\t.nii", b'"\\.nii']
    for name in odd:
        (tmp_path / "odd" / os.fsdecode(name)).parent.mkdir(exist_ok=True)
        (tmp_path / "odd" / os.fsdecode(name)).touch()
    wanted = sorted(os.path.join(tmp_path, "odd", os.fsdecode(name)) for name in odd)
    assert list_files(tmp_path / "odd", cache) == wanted
    assert list_files(tmp_path / "odd", cache) == wanted
    assert cache.is_file()


def test_progress_counts_files(tree):
    counts = []
    list_files(tree, on_progress=counts.append)
    assert counts == sorted(counts)
    assert counts[-1] == len(_wanted(tree))


def test_links_are_followed_and_loops_are_not(tmp_path):
    _plant(tmp_path, "data/sub-1/a.nii", "data/sub-1/deep/b.nii", "elsewhere/c.nii")
    data = tmp_path / "data"
    (data / "sub-2").symlink_to(tmp_path / "elsewhere")
    (data / "sub-3").symlink_to(data / "sub-1")  # the same folder twice: the name that is no link is listed
    (data / "sub-0").symlink_to(data / "store/17")  # here the link is nearer to the root
    _plant(data, "store/17/e.nii")
    (data / "sub-1/deep/up").symlink_to(data)
    (data / "self.nii").symlink_to(data / "self.nii")
    (data / "lost.nii").symlink_to(tmp_path / "nowhere.nii")
    (data / "d.nii").symlink_to(tmp_path / "elsewhere/c.nii")
    os.mkfifo(data / "pipe.nii")
    names = [os.path.relpath(path, data) for path in list_files(data)]
    assert names == sorted(
        ["sub-0/e.nii", "sub-1/a.nii", "sub-1/deep/b.nii", "sub-2/c.nii", "d.nii", "lost.nii", "self.nii"]
    )


def test_links_to_each_other_do_not_multiply(tmp_path):
    for at in range(7):
        _plant(tmp_path, f"d{at}/x.nii")
        for other in set(range(7)) - {at}:
            (tmp_path / f"d{at}/l{other}").symlink_to(tmp_path / f"d{other}")
    assert list_files(tmp_path) == [str(tmp_path / f"d{at}/x.nii") for at in range(7)]


@pytest.mark.parametrize("by_link", [False, True])
def test_a_link_to_a_folder_above_the_source_is_not_followed(tmp_path, by_link):
    _plant(tmp_path, "study/ds/a.nii", "study/other/b.nii")
    (tmp_path / "study/ds/up").symlink_to(tmp_path / "study")
    (tmp_path / "short").symlink_to(tmp_path / "study/ds")
    source = tmp_path / ("short" if by_link else "study/ds")
    assert list_files(source) == [str(source / "a.nii")]


def test_folders_without_a_number_of_their_own_are_all_listed(tmp_path, monkeypatch):
    """Some disks give every folder the same inode."""
    _plant(tmp_path, "a/x.nii", "b/y.nii")
    stat = os.stat

    def blind(path, *args, **kwargs):
        status = stat(path, *args, **kwargs)
        return SimpleNamespace(
            st_mode=status.st_mode, st_ino=0, st_dev=0, st_mtime_ns=status.st_mtime_ns, st_ctime_ns=status.st_ctime_ns
        )

    monkeypatch.setattr(walk.os, "stat", blind)
    assert [os.path.basename(path) for path in list_files(tmp_path)] == ["x.nii", "y.nii"]


def test_a_link_that_leads_to_a_folder_later_is_seen_in_spite_of_the_cache(tmp_path, cache, scanned):
    _plant(tmp_path, "data/a.nii")
    (tmp_path / "data/disk2").symlink_to(tmp_path / "mounted")
    assert list_files(tmp_path / "data", cache)[1] == str(tmp_path / "data/disk2")
    _plant(tmp_path, "mounted/b.nii")
    assert list_files(tmp_path / "data", cache)[1] == str(tmp_path / "data/disk2/b.nii")
    assert scanned == ["data", "disk2"]


def test_the_second_walk_lists_only_what_changed(tree, cache, scanned):
    first = list_files(tree, cache)
    assert len(scanned) == 1 + 2 + 40 + 14 * 4 + 26
    scanned.clear()
    assert list_files(tree, cache) == first
    assert scanned == []
    _tick()
    _plant(tree, "sub-00/ses-1/anat/new.nii", "sub-40/anat/x.nii")
    (tree / "sub-01/anat/sub-01.nii").unlink()
    (tree / "sub-02/anat").rename(tree / "sub-02/func")
    for name in ("sub-03/ses-1", "sub-03/ses-2"):
        for file in (tree / name / "anat").iterdir():
            file.unlink()
        (tree / name / "anat").rmdir()
    second = list_files(tree, cache)
    # the root and sub-40 are new; what was renamed has the same times, and another name
    assert sorted(scanned) == sorted(["tree", "sub-40", "anat", "anat", "anat", "sub-02", "func", "ses-1", "ses-2"])
    assert second == _wanted(tree)


def test_a_time_that_was_set_back_does_not_hide_a_change(tree, cache):
    folder = tree / "sub-01/anat"
    then = folder.stat()
    list_files(tree, cache)
    _tick()
    _plant(tree, "sub-01/anat/second.nii")
    os.utime(folder, ns=(then.st_atime_ns, then.st_mtime_ns))
    assert folder.stat().st_mtime_ns == then.st_mtime_ns
    assert list_files(tree, cache) == _wanted(tree)


def test_a_folder_that_just_changed_is_not_kept(tree, tmp_path, monkeypatch, scanned):
    monkeypatch.setattr(walk, "LEAST", 0)
    cache = tmp_path / "cache.json"
    list_files(tree, cache)
    assert read_cache(cache, str(tree)) == {}
    now = time.time_ns()
    monkeypatch.setattr(walk.time, "time_ns", lambda: now + 3 * 10**9)
    list_files(tree, cache)
    n_folders = len(scanned) // 2
    assert len(read_cache(cache, str(tree))) == n_folders
    list_files(tree, cache)
    assert len(scanned) == 2 * n_folders


def test_few_folders_are_not_kept(tree, tmp_path):
    list_files(tree, tmp_path / "cache.json")
    assert not (tmp_path / "cache.json").exists()


def test_a_cache_is_one_file_and_says_what_it_is(tree, cache):
    list_files(tree, cache)
    assert [path.name for path in cache.parent.iterdir()] == [cache.name]
    head = json.loads(cache.read_bytes().split(b"\n")[0])
    assert (head["format"], head["folder"]) == (FORMAT, str(tree))
    kept = read_cache(cache, str(tree))
    _, files, folders, links = kept["/sub-01/anat"].split("//")
    assert (sorted(files.split("/")), folders, links) == (["sub-01.json", "sub-01.nii"], "", "")
    assert kept["/empty"].split("//")[1:] == ["", "within", ""]


def _cut(path):
    path.write_bytes(path.read_bytes()[:-200])


def _spoil(path):
    path.write_bytes(path.read_bytes().replace(b"sub-07.nii", b"sub-70.nii"))


def _other_format(path):
    path.write_bytes(path.read_bytes().replace(FORMAT.encode(), b"featx-walk-0"))


@pytest.mark.parametrize(
    "damage",
    [
        _cut,
        _spoil,
        _other_format,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\x80\x04\x95 no json\n{}"),
        lambda path: path.write_bytes(b"3\n3"),
    ],
    ids=["cut", "spoilt", "format", "empty", "binary", "other"],
)
def test_a_damaged_cache_is_ignored_and_written_anew(tree, cache, damage, scanned):
    list_files(tree, cache)
    whole = cache.read_bytes()
    damage(cache)
    scanned.clear()
    assert list_files(tree, cache) == _wanted(tree)
    assert "sub-07" in scanned
    assert cache.read_bytes() == whole or read_cache(cache, str(tree))
    scanned.clear()
    list_files(tree, cache)
    assert scanned == []


def test_the_cache_of_another_folder_is_ignored(tree, tmp_path, cache):
    _plant(tmp_path, "other/a.nii")
    list_files(tree, cache)
    assert list_files(tmp_path / "other", cache) == [str(tmp_path / "other/a.nii")]
    assert list_files(tree, cache) == _wanted(tree)


def test_a_cache_that_cannot_be_written_costs_nothing_else(tree, tmp_path, cache):
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert list_files(tree, cache) == _wanted(tree)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(IndexingError, match="must be a folder that is there; .*nowhere is none; mend the path"):
        list_files(tmp_path / "nowhere")


def test_a_folder_that_may_not_be_read_is_told(tree, monkeypatch):
    scandir = os.scandir

    def guarded(path):
        if path.endswith("sub-05"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(walk.os, "scandir", guarded)
    with pytest.raises(
        IndexingError, match=r"must be readable; .*/sub-05 is not \(Permission denied\); mend its perm"
    ):
        list_files(tree)


def test_a_folder_that_vanishes_meanwhile_is_not_there(tree, monkeypatch):
    scandir = os.scandir

    def racing(path):
        if path.endswith("sub-05"):
            raise FileNotFoundError(2, "No such file or directory", path)
        return scandir(path)

    monkeypatch.setattr(walk.os, "scandir", racing)
    assert list_files(tree) == [path for path in _wanted(tree) if "sub-05" not in path]


def test_random_changes_are_all_seen(tmp_path, cache):
    """Files and folders come and go; the walk with the cache always equals one without."""
    rng = random.Random(0)
    _plant(tmp_path / "t", "a/b/c/x")
    for _ in range(30):
        _tick()
        for _ in range(10):
            here = tmp_path / "t" / "/".join(rng.choice("abc") for _ in range(rng.randint(1, 3)))
            if rng.random() < 0.6:
                here.mkdir(parents=True, exist_ok=True)
                (here / rng.choice("xyz")).touch()
            elif here.is_dir():
                files = [path for path in here.iterdir() if path.is_file()]
                if files:
                    rng.choice(files).unlink()
                elif not any(here.iterdir()):
                    here.rmdir()
        assert list_files(tmp_path / "t", cache) == _by_os_walk(tmp_path / "t")
