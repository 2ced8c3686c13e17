"""What making a set took, over sessions and processes."""

from dreamda_jax.data.sets.production_log import append_session, read_sessions


def test_sessions_of_all_processes_and_no_damaged_line(tmp_path):
    assert read_sessions(tmp_path) == []
    for process, images in ((0, 8), (0, 4), (1, 2)):
        append_session(tmp_path, {"images": images}, process_index=process)
    assert [session["images"] for session in read_sessions(tmp_path)] == [8, 4, 2]
    file = tmp_path / "production-0.jsonl"
    file.write_bytes(file.read_bytes() + b'{"images": ')
    assert [session["images"] for session in read_sessions(tmp_path)] == [8, 4, 2]
