"""The reply subscription is cut under load: gaps are repaired or told, never passed on as shorter answers."""

from tests.faults.conftest import Scene
from tests.faults.load import Ask, load

_ASKS = [Ask(True, 100, "delay=10ms"), Ask(False, 20, "delay=5ms"), Ask(True, 20, "")]
_CALLERS = 30
_CUTS = 5


def test_no_answer_is_lost_or_shortened_when_the_subscription_is_killed(scene: Scene) -> None:
    killed = 0
    with load(scene.url, scene.key, _ASKS, _CALLERS) as running:
        for _ in range(_CUTS):
            running.wait_for_outcomes(len(running.outcomes) + _CALLERS)
            killed += int(str(scene.redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")))
        running.wait_for_outcomes(len(running.outcomes) + _CALLERS)
        outcomes = running.finish()
    assert killed >= _CUTS, "the subscriptions were there, and came back after each cut"
    assert [o for o in outcomes if not o.whole] == []
    books = scene.books(outcomes)
    assert books.differences() == []
    assert len(books.rows) == len(outcomes)


def test_a_revoked_key_is_refused_at_once_where_the_news_was_missed(scene: Scene) -> None:
    made = scene.installation.ask("key", "create", "--org", scene.organisation, "--name", "to-revoke")
    ask = Ask(False, 3, "")
    with load(scene.url, made["key"], [ask], 8, once=True) as before:
        before.wait_for_outcomes(8)
    scene.redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    scene.installation.ask("key", "revoke", made["id"])
    scene.redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    with load(scene.url, made["key"], [ask], 8, once=True) as after:
        after.wait_for_outcomes(8)
    assert [o.whole for o in before.outcomes] == [True] * 8
    assert [o.status for o in after.outcomes] == [401] * 8
