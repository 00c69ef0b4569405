"""A node whose topics are lists, for what publishes."""

from types import SimpleNamespace

from geopurify_ros.ros.outputs import clouds


class Topics:
    """`listeners` has how many there are on a topic; `newcomer` lets one more come."""

    def __init__(self, **listeners):
        self.sent, self.listeners, self.log, self._matched = {}, listeners, [], {}

    def get_logger(self):
        return SimpleNamespace(info=self.log.append)

    def create_publisher(self, _type, name, _qos, event_callbacks=None):
        sent = self.sent.setdefault(name, [])
        self._matched[name] = event_callbacks and event_callbacks.matched
        return SimpleNamespace(
            publish=sent.append, get_subscription_count=lambda: self.listeners.get(name, 0))

    def newcomer(self, name, change=1):
        self.listeners[name] = self.listeners.get(name, 0) + change
        self._matched[name](None)

    def counts(self):
        return {name: len(sent) for name, sent in self.sent.items()}


def count_packed(monkeypatch):
    """Names of the clouds that are made from now on."""
    made = []
    for name in ("map_cloud", "labeled_cloud"):
        pack = getattr(clouds, name)
        monkeypatch.setattr(clouds, name, lambda *args, n=name, pack=pack: (
            made.append(n), pack(*args))[1])
    return made
