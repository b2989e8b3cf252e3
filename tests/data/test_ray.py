"""The same chunks on a real cluster of this machine: two nodes, one of which is lost half-way."""

import sys
from pathlib import Path

import pytest

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

    def test_a_lost_node_changes_nothing_in_the_records(self, cluster, tmp_path):
        told = []

        def tell(done: int, total: int) -> None:
            told.append((done, total))
            if done == 6:
                cluster.remove_node(cluster.nodes[1], allow_graceful=False)

        run_chunks_on_ray(pieces(14), Squares(tmp_path, wait_s=0.3), address=cluster.address, tell=tell)
        assert told == [(k, 14) for k in range(1, 15)]
        assert results(tmp_path) == expected(14)
        workers = [process for process, _, what in log_lines(tmp_path) if what == "opened"]
        finished = {process for process, _, what in log_lines(tmp_path) if what != "opened"}
        assert len(workers) == len(set(workers)) >= 2 and len(finished) >= 2  # both had a share


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
