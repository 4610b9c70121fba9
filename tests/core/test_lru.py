from dataspine.core.lru import Lru


def known(lru: Lru[str, str]) -> list[str | None]:
    return [lru.get(key) for key in "abc"]


def test_what_was_used_longest_ago_makes_room() -> None:
    lru: Lru[str, str] = Lru(2)
    lru.put("a", "1")
    lru.put("b", "2")
    lru.get("a")
    lru.put("c", "3")
    assert known(lru) == ["1", None, "3"]


def test_all_values_together_have_a_weight() -> None:
    lru: Lru[str, str] = Lru(9, weight=5, weigh=len)
    lru.put("a", "11")
    lru.put("b", "222")
    assert known(lru) == ["11", "222", None]
    lru.put("c", "3")
    assert known(lru) == [None, "222", "3"]
    lru.put("b", "2222")  # in its own place
    assert known(lru) == [None, "2222", "3"]
    lru.put("a", "1")
    assert known(lru) == ["1", None, "3"]


def test_what_is_too_heavy_is_not_kept() -> None:
    lru: Lru[str, str] = Lru(9, weight=5, weigh=len)
    lru.put("a", "1")
    lru.put("b", "222222")
    assert known(lru) == ["1", None, None]
    lru.put("a", "111111")
    assert known(lru) == [None, None, None]
