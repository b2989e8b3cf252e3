"""The same chunks on a real cluster of this machine: two nodes, one of which is lost half-way."""

import sys
from pathlib import Path

import pytest
from PIL import Image

from adaface.data.executors.on_ray import run_chunks_on_ray
from adaface.errors import ConfigError, ImageError, MissingExtra, WorkerError
from tiny_chunks import Squares, expected, log_lines, pieces, results

TESTS = str(Path(__file__).resolve().parents[1])
STORE = 100_000_000

on_a_cluster = [pytest.mark.ray, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own, many


@pytest.fixture(scope="module")
def cluster():
    """A head without cores, and two nodes of one core each: processes of their own, as on three machines."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", TESTS)  # the nodes' processes import the workers from there
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        head = dict(num_cpus=0, include_dashboard=False, object_store_memory=STORE)
        made = Cluster(initialize_head=True, head_node_args=head)
        try:
            made.nodes = [made.add_node(num_cpus=1, object_store_memory=STORE) for _ in range(2)]
            made.wait_for_nodes()
            yield made
        finally:
            made.shutdown()


class TestOnACluster:
    """In order: the node that is lost is lost for good."""

    pytestmark = on_a_cluster

    def test_an_error_of_the_work_comes_out_as_it_is(self, cluster, tmp_path):
        with pytest.raises(ImageError, match=r"^piece01: broken\. Leave it out$"):
            run_chunks_on_ray(pieces(3), Squares(tmp_path, fail="piece01"), address=cluster.address)

    def test_a_chunk_that_kills_its_process_is_given_up_and_named(self, cluster, tmp_path):
        with pytest.raises(
            WorkerError, match=r"^chunk piece01: the process that worked on it died 4 times.*run again"
        ):
            run_chunks_on_ray(pieces(2), Squares(tmp_path, die="piece01"), address=cluster.address)

    def test_a_lost_node_changes_nothing_in_the_data_set(self, cluster, tmp_path, astronaut):
        """The same photos prepared here, and on two nodes of which one is killed half-way."""
        from adaface.data.prepare.run import Request, prepare
        from adaface.data.prepare.settings import PrepareSettings

        photos = write_photos(tmp_path / "photos", astronaut, count=40)
        settings = PrepareSettings(size=64, filter_people=False, drop_near_duplicates=False)
        here = prepare(Request(out=tmp_path / "here", data_roots=[photos], settings=settings))
        told, alive = [], []

        def tell(done: int, total: int) -> None:
            told.append((done, total))
            if done == 2:
                alive.append(len(list(cluster.list_all_nodes())))
                cluster.remove_node(cluster.nodes[1], allow_graceful=False)

        def run(chunks, stage):
            run_chunks_on_ray(chunks, stage, address=cluster.address, tell=tell)

        there = prepare(Request(out=tmp_path / "there", data_roots=[photos], settings=settings), run=run)
        assert told == [(k, 5) for k in range(1, 6)] and alive == [3]
        assert (there.kept, there.hash) == (here.kept, here.hash)
        assert here.kept == 40
        names = ["dataset.json", "index.safetensors", "shard-000000.tar", "rejected.jsonl"]
        for name in names:
            assert (tmp_path / "there" / name).read_bytes() == (tmp_path / "here" / name).read_bytes(), name


def write_photos(folder: Path, picture, count: int) -> Path:
    """A folder of one person: squares around the astronaut's face, each a little different."""
    (folder / "astronaut").mkdir(parents=True)
    for number in range(count):
        side = 240 + number
        cut = Image.fromarray(picture[0:side, 100 : 100 + side])
        cut.save(folder / "astronaut" / f"{number:02d}.jpg", quality=92)
    return folder


@pytest.mark.parametrize("mark", [pytest.param("", marks=on_a_cluster)])
def test_without_an_address_this_machine_is_the_cluster(mark, tmp_path, monkeypatch):
    import ray

    monkeypatch.setenv("PYTHONPATH", TESTS)
    run_chunks_on_ray(pieces(5), Squares(tmp_path), workers=2)
    assert results(tmp_path) == expected(5)
    assert {threads for _, threads, _ in log_lines(tmp_path)} == {"1"}
    assert not ray.is_initialized()


@pytest.mark.parametrize("mark", [pytest.param("", marks=on_a_cluster)])
def test_an_address_where_nobody_answers_is_told(mark, tmp_path):
    with pytest.raises(ConfigError, match="--ray 127.0.0.1:9: no cluster answers there .*ray start --head"):
        run_chunks_on_ray(pieces(1), Squares(tmp_path), address="127.0.0.1:9")


def test_without_ray_the_command_that_installs_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"ray is not installed\. Run: pip install 'adaface\[ray\]'"):
        run_chunks_on_ray(pieces(1), Squares(tmp_path))


def test_fewer_than_one_worker_is_told(tmp_path):
    with pytest.raises(ConfigError, match="workers=0: give 1 or more"):
        run_chunks_on_ray(pieces(1), Squares(tmp_path), workers=0)
