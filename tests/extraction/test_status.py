"""Records of writers, and the status that follows from them: who writes, what is done, failed and left, how fast."""

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from featx import store
from featx.errors import StoreError
from featx.extraction.jobarray import gather
from featx.extraction.parts import parts_folder, pid_exists
from featx.extraction.record import (
    DIED,
    ENDED,
    SILENT,
    STOPPED,
    WRITING,
    Record,
    advance,
    begin,
    from_row,
    keep_record,
    pack_records,
    read_records,
    row_of,
    state_of,
    write_asked,
    write_record,
)
from featx.extraction.status import overall_rate, read_status, recent_rate
from featx.images.image import Image
from tests.conftest import make_set, write_features

SETS = {"net": ["net/axial/t/mean", "net/coronal/t/mean"], "other": ["other/axial/t/mean"]}


def _images(ids):
    return [Image(one, one, "", "", Path(one)) for one in ids]


def _failure(image_id, network="net", code="truncated"):
    return {"image_id": image_id, "network": network, "step": "read", "code": code, "sentence": "s"}


def _put(folder, record, ids):
    write_asked(folder, record, ids)
    write_record(folder, record)


def test_a_record_says_what_its_writer_does(tmp_path):
    folder = tmp_path / "f.h5.parts"
    with keep_record(folder, _images("abc"), SETS, n_before=1, shard="3/20", device="cpu") as told:
        ((record, ids),) = read_records(folder)
        assert (record.host, record.pid, record.state) == (socket.gethostname(), os.getpid(), WRITING)
        assert (record.n_images, record.n_before, record.finished) == (3, 1, 0)
        assert (record.shard, record.device, record.sets, ids) == ("3/20", "cpu", SETS, ["a", "b", "c"])
        told(1, 0)  # within seconds of the last sign of life: kept for the next
        assert read_records(folder)[0][0].finished == 0
        told(2, 1)
    ((record, _),) = read_records(folder)
    assert (record.state, record.finished, record.failed) == (ENDED, 2, 1)
    assert record.last >= record.started
    assert sorted(path.suffix for path in folder.iterdir()) == [".images", ".json"]


def test_signs_of_life_come_now_and_then(tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    with keep_record(tmp_path, _images("abcdef"), SETS) as told:
        for finished in range(1, 7):
            now[0] += 10.0
            told(finished, 0)
        ((record, _),) = read_records(tmp_path)
        assert record.samples == ((1000.0, 0), (1020.0, 2), (1040.0, 4), (1060.0, 6))
        assert recent_rate(record) == pytest.approx(0.1)


def test_an_error_and_a_disk_that_is_full_are_survived(tmp_path, monkeypatch):
    with pytest.raises(ZeroDivisionError), keep_record(tmp_path, _images("ab"), SETS):
        raise ZeroDivisionError
    assert read_records(tmp_path)[0][0].state == STOPPED

    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    folder = tmp_path / "2"
    with keep_record(folder, _images("ab"), SETS) as told:
        monkeypatch.setattr(Path, "write_text", full)
        monkeypatch.setattr("featx.extraction.record.SIGN_OF_LIFE_S", -1.0)
        told(1, 0)  # costs no image
    assert read_records(folder)[0][0].state == WRITING
    with pytest.raises(StoreError, match="must be written beside its parts; .* could not be .*No space"):
        keep_record(folder, _images("ab"), SETS).__enter__()


def test_where_nothing_is_to_do_nothing_is_told(tmp_path):
    with keep_record(tmp_path / "no", _images("ab"), SETS, n_before=2) as told:
        told(0, 0)
    assert not (tmp_path / "no").exists()


def test_who_is_dead_is_told_as_such():
    one = replace(begin("ab", SETS), host="here", last=1000.0)
    assert state_of(one, 1010.0, "here", is_running=True) == WRITING
    assert state_of(one, 1010.0, "here", is_running=False) == DIED
    assert state_of(one, 1010.0, "there", is_running=False) == WRITING  # the number is another machine's
    assert state_of(one, 1301.0, "there", is_running=False) == SILENT
    assert state_of(one, 1301.0, "here", is_running=True) == SILENT
    assert state_of(replace(one, state=ENDED), 9e9, "there", is_running=False) == ENDED


def test_a_process_that_is_gone_is_not_running(monkeypatch):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert not pid_exists(gone.pid)
    assert pid_exists(os.getpid())

    def refuse(_pid, _signal):
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert pid_exists(1)  # another user's


def test_a_damaged_record(tmp_path):
    _put(tmp_path, begin("ab", SETS), list("ab"))
    (path,) = tmp_path.glob("*.json")
    path.write_text("{")
    with pytest.raises(StoreError, match="must be that of featx; .*remove it: no features are in it"):
        read_records(tmp_path)
    pack_records(tmp_path)  # it keeps nothing from being collected
    assert path.exists()
    row = row_of(begin("ab", SETS), list("ab")) | {"record": "[]"}
    with pytest.raises(StoreError, match=r"table of jobs must hold records of featx; that of f\.h5 does not"):
        from_row(row, Path("f.h5"))


def test_a_row_of_the_table_is_the_record():
    one = advance(begin("ab", SETS, shard="1/2"), 1, 1, 12.0)
    assert from_row(row_of(one, ["a", "b"]), Path("f.h5")) == (one, ["a", "b"])


# --- status ---------------------------------------------------------------------------------------------------


@pytest.fixture
def output(tmp_path):
    """An output with a part: 'net' has a and b, of c only one set, 'other' has a; d failed in both, e is left."""
    path = tmp_path / "f.h5"
    write_features(path, make_set(SETS["net"][0], list("abc")), make_set(SETS["net"][1], list("a")))
    store.write_sets(
        parts_folder(path) / "part-1.h5",
        [make_set(SETS["net"][1], list("b")), make_set(SETS["other"][0], list("a"))],
        [_failure("d"), _failure("d", "other"), _failure("z", "other", "constant"), _failure("a")],
    )
    return path


def test_done_failed_and_left_are_counted_by_network_and_in_all(output):
    now = time.time()
    one = replace(begin("abcde", SETS), started=now - 400, last=now)
    one = replace(one, finished=30, samples=((now - 400, 0), (now - 200, 10), (now, 30)))
    _put(parts_folder(output), one, list("abcde"))
    status = read_status(output)
    assert {label: vars(one) for label, one in status.networks.items()} == {
        "net": {"asked": 5, "done": 2, "failed": 1, "left": 2},
        "other": {"asked": 5, "done": 1, "failed": 1, "left": 3},
    }
    assert vars(status.images) == {"asked": 5, "done": 1, "failed": 1, "left": 3}
    assert status.codes == {"truncated": 1, "constant": 1}
    assert status.recent == pytest.approx(20 / 200)
    assert status.overall == pytest.approx(30 / 400)
    assert status.left_s == pytest.approx(3 / 0.1)
    assert [writer.state for writer in status.writers] == [WRITING]


def test_shards_and_a_second_wish_add_up(output):
    folder = parts_folder(output)
    _put(folder, begin("ab", SETS, shard="1/2"), list("ab"))
    _put(folder, begin("cde", SETS, shard="2/2"), list("cde"))
    _put(folder, begin("cdx", {"net": SETS["net"][:1]}), list("cdx"))
    status = read_status(output)
    assert vars(status.networks["net"]) == {"asked": 6, "done": 2, "failed": 1, "left": 3}
    assert vars(status.images) == {"asked": 6, "done": 1, "failed": 1, "left": 4}


def test_the_last_run_is_told_after_its_end(output):
    folder = parts_folder(output)
    with keep_record(folder, _images("abcde"), SETS) as told:
        told(4, 1)
        during = read_status(output)
    gather(output, [])
    assert not folder.exists()
    status = read_status(output)
    assert (status.images, status.networks) == (during.images, during.networks)
    assert status.left_s is None
    assert [(one.state, one.record.finished) for one in status.writers] == [(ENDED, 4)]
    assert store.list_sets(output) == sorted(name for names in SETS.values() for name in names)


def test_packing_twice_and_a_killed_packing_change_nothing(output):
    folder = parts_folder(output)
    with keep_record(folder, _images("abcde"), SETS):
        pass
    lying = {path: path.read_bytes() for path in folder.glob("job-*")}
    pack_records(folder)
    for path, content in lying.items():  # as after a kill before they were removed
        path.write_bytes(content)
    assert len(read_status(output).writers) == 1
    gather(output, [])
    gather(output, [])
    assert len(store.read_jobs(output)) == 1


def test_what_a_kill_left_half_written_does_not_keep_the_folder(output):
    folder = parts_folder(output)
    for name in ("job-a.b-1-x.images", ".job-a.b-1-x.json.tmp", ".job-c-2-y.images.tmp"):
        (folder / name).write_text("[")
    gather(output, [])
    assert len(list(folder.iterdir())) == 3  # who wrote them may be about to go on
    for path in folder.iterdir():
        os.utime(path, (time.time() - 301, time.time() - 301))
    with keep_record(folder, _images("abcde"), SETS):
        pass
    gather(output, [])
    assert not folder.exists()


def test_a_writer_that_goes_on_keeps_its_record(output):
    folder = parts_folder(output)
    with keep_record(folder, _images("abcde"), SETS):
        gather(output, [])
        assert [one.record.state for one in read_status(output).writers] == [WRITING]
        assert len(list(folder.glob("job-*.json"))) == 1


def test_the_same_command_again_takes_the_place_of_the_run_that_is_over(output):
    for _ in range(2):
        with keep_record(parts_folder(output), _images("abcde"), SETS):
            pass
        gather(output, [])
    assert len(read_status(output).writers) == 1


def test_a_killed_writer_has_died(output, tmp_path):
    script = (
        "import os, sys, pathlib; from featx.extraction.record import keep_record\n"
        "from featx.images.image import Image\n"
        "images = [Image(one, one, '', '', pathlib.Path(one)) for one in 'abcde']\n"
        f"with keep_record(pathlib.Path(sys.argv[1]), images, {SETS!r}): os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(parts_folder(output))], check=False)
    assert [one.state for one in read_status(output).writers] == [DIED]
    gather(output, [])
    assert [one.state for one in read_status(output).writers] == [DIED]


def test_a_file_of_before_there_were_records(output):
    gather(output, [])
    status = read_status(output)
    assert vars(status.networks["net"]) == {"asked": None, "done": 2, "failed": 1, "left": 0}
    assert vars(status.images) == {"asked": None, "done": 1, "failed": 2, "left": 0}
    assert (status.recent, status.overall, status.left_s, status.writers) == (0.0, 0.0, None, [])


def test_a_job_that_is_not_there(tmp_path):
    with pytest.raises(StoreError, match=r"there is neither .*no\.h5 nor .*no\.h5\.parts; name what"):
        read_status(tmp_path / "no.h5")


def test_a_damaged_part(output):
    (parts_folder(output) / "part-2.h5").write_bytes(b"x")
    with pytest.raises(StoreError, match="must be whole HDF5"):
        read_status(output)


def _ran(started, last, finished):
    return Record("", "", 0, "", started, last, ENDED, {}, 0, 0, finished=finished)


def test_rates_are_those_of_a_plain_count():
    assert overall_rate([]) == 0.0
    assert overall_rate([_ran(5.0, 5.0, 0)]) == 0.0
    assert overall_rate([_ran(0, 10, 50), _ran(8, 20, 50), _ran(100, 101, 9)]) == pytest.approx(9)
    assert overall_rate([_ran(0, 10, 50), _ran(8, 20, 50)]) == pytest.approx(100 / 20)
    many = replace(_ran(0, 1000, 90), samples=tuple((at * 100.0, at * at) for at in range(11)))
    assert recent_rate(many) == pytest.approx((100 - 49) / 300)
    assert json.loads(json.dumps(many.samples))
