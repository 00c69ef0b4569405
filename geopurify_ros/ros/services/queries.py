"""Questions to the map: the active prompts, edited by topic, and ~/query beside them."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.task import Future
from std_msgs.msg import String

from geopurify_ros.config import Config, QueryConfig
from geopurify_ros.core.answers.query import (
    TextQuery,
    check_negatives,
    check_prompts,
    make_query,
    parse_negatives,
    parse_prompts,
)
from geopurify_ros.core.mapping.encoder import unreadable
from geopurify_ros.errors import InputError
from geopurify_ros.msg import QueryResult, SemanticQuery
from geopurify_ros.ros.outputs.publishers import Outputs
from geopurify_ros.ros.report import Reporter
from geopurify_ros.ros.services.worker_results import waking
from geopurify_ros.ros.worker import MappingWorker
from geopurify_ros.srv import Query

_EMPTY = "the map is empty: no frame has been fused yet"


class Queries:
    """Topics `query` and `semantic_query`, service `~/query`."""

    def __init__(
        self,
        node: Node,
        config: Callable[[], Config],
        worker: MappingWorker,
        outputs: Outputs,
        reporter: Reporter,
        group: CallbackGroup,
    ) -> None:
        """Subscribe; the prompts that were active before stay so."""
        self._node, self._config = node, config
        self._worker, self._outputs, self._reporter = worker, outputs, reporter
        self._topics = [
            node.create_subscription(String, "query", self._on_query, 10),
            node.create_subscription(SemanticQuery, "semantic_query", self._on_semantic_query, 10),
        ]
        self._service = node.create_service(Query, "~/query", self._on_ask, callback_group=group)
        if worker.query is None and config().query.initial:
            self._set(self._parsed(config().query.initial))

    def destroy(self) -> None:
        """End."""
        for subscription in self._topics:
            self._node.destroy_subscription(subscription)
        self._node.destroy_service(self._service)

    def _on_query(self, msg: String) -> None:
        try:
            self._set(self._parsed(msg.data))
        except InputError as error:
            self._reporter.warn(self._node.resolve_topic_name("query"), str(error))

    def _on_semantic_query(self, msg: SemanticQuery) -> None:
        try:
            self._set(self._edited(msg))
        except InputError as error:
            self._reporter.warn(self._node.resolve_topic_name("semantic_query"), str(error))

    def _parsed(self, text: str) -> TextQuery:
        settings = self._config().query
        prompts = parse_prompts(text, settings.max_prompts)
        return make_query(
            prompts, self._negatives([]), settings.threshold, settings.min_voxels
        )

    def _negatives(self, given: list[str]) -> tuple[str, ...] | None:
        if not given:
            return parse_negatives(self._config().query.negatives)
        return check_negatives(given)

    def _edited(self, msg: SemanticQuery) -> TextQuery | None:
        """The active query after a SemanticQuery; None when no prompt is left."""
        asked = self._worker.query
        active = list(asked.prompts) if asked else []
        if msg.action == SemanticQuery.ACTION_CLEAR:
            return None
        if msg.action == SemanticQuery.ACTION_REMOVE:
            unwanted = {p.casefold() for p in check_prompts(list(msg.prompts), 1000)}
            left = [p for p in active if p.casefold() not in unwanted]
            if not left:
                return None
            wanted = left
        elif msg.action == SemanticQuery.ACTION_ADD:
            wanted = active + list(msg.prompts)
        elif msg.action == SemanticQuery.ACTION_SET:
            wanted = list(msg.prompts)
        else:
            raise InputError(f"there is no action {msg.action}: see msg/SemanticQuery.msg")
        return self._made(wanted, list(msg.negatives), msg.threshold)

    def _made(self, prompts: list[str], negatives: list[str], threshold: float) -> TextQuery:
        if not 0.0 <= threshold <= 1.0:  # false for NaN too
            raise InputError(f"the threshold is {threshold}, expected 0 to 1")
        settings = self._config().query
        return make_query(
            check_prompts(prompts, settings.max_prompts),
            self._negatives(negatives),
            threshold or settings.threshold,
            settings.min_voxels,
        )

    def _set(self, asked: TextQuery | None) -> None:
        names = ", ".join(asked.prompts) if asked else "nothing"
        self._node.get_logger().info(f"active query: {names}{self._empty}")
        for sentence in self._unreadable(asked):
            self._node.get_logger().warning(f"query: {sentence}")
        self._worker.set_query(asked)

    def _unreadable(self, asked: TextQuery | None) -> list[str]:
        """A sentence for each prompt that cannot be answered."""
        encoder = self._worker.pipeline.encoder
        sentences = [unreadable(encoder, prompt) for prompt in (asked.prompts if asked else ())]
        return [sentence for sentence in sentences if sentence]

    @property
    def _empty(self) -> str:
        """What to add to an answer of a map without a voxel."""
        return "" if len(self._worker.pipeline.map) else f"; {_EMPTY}"

    def config_changed(self, old: QueryConfig) -> None:
        """The active query follows parameters that it took its values from."""
        asked = self._worker.query
        if asked is None:
            return
        new = self._config().query
        usual = make_query(asked.prompts, parse_negatives(old.negatives), old.threshold)
        remade = make_query(
            asked.prompts,
            parse_negatives(new.negatives) if asked.negatives == usual.negatives
            else asked.negatives,
            new.threshold if asked.threshold == old.threshold else asked.threshold,
            new.min_voxels,
        )
        if remade != asked:
            self._worker.set_query(remade)

    def _answer(self, asked: TextQuery) -> QueryResult:
        """On the worker's thread: the map must not change between answer and message."""
        worker = self._worker
        answer = worker.pipeline.query(asked, with_raw=self._outputs.wants_raw)
        return self._outputs.result(worker.pipeline, asked, answer, worker.stamp_ns)

    async def _on_ask(self, request: Query.Request, response: Query.Response) -> Query.Response:
        try:
            asked = self._made(list(request.prompts), list(request.negatives), request.threshold)
        except InputError as error:
            response.message = str(error)
            return response
        future = Future()
        done = waking(self._node, future)
        if not self._worker.call("query", lambda: self._answer(asked), done):
            response.message = "too many queries are waiting, ask again later"
            return response
        result = await future
        if isinstance(result, Exception):
            response.message = f"the query failed: {result}"
            return response
        response.result = result
        found = sum(r.found for r in response.result.results)
        response.success = True
        empty = "" if result.num_voxels else f"; {_EMPTY}"
        unread = "".join(f"; {sentence}" for sentence in self._unreadable(asked))
        response.message = f"{found} of {len(asked.prompts)} prompts found{empty}{unread}"
        return response
