"""The story that README tells, on real processes: records, consent, training, withdrawal, audit, as users type them."""

from __future__ import annotations

from pathlib import Path

from coordinator.story import tell


def test_the_whole_story(tmp_path: Path) -> None:
    said: list[str] = []
    facts = tell(tmp_path / "story", said.append)
    assert facts["observations"] == 4, "two of each hospital, of one person"
    assert 0 < facts["samples_after"] < facts["samples_before"]
    assert facts["root_after"] != facts["root_before"]
    assert facts["complete"]
    assert any("not a time" not in line and "line 4" in line for line in said), "one bad row is explained"
