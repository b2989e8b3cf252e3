"""A whole data set on a cluster of two nodes, one of which is lost half-way: the bytes of one worker."""

from pathlib import Path

import pytest

from adaface.data.executors.on_ray import run_chunks_on_ray
from tiny_photos import tree, write_people

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own, many

TESTS = str(Path(__file__).resolve().parents[2])
STORE = 100_000_000


def test_a_data_set_made_on_a_cluster_that_loses_a_node_is_the_same(make, out, tmp_path, monkeypatch):
    from ray.cluster_utils import Cluster

    # the nodes' processes import the drawn photos' networks from there
    monkeypatch.setenv("PYTHONPATH", TESTS)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    many = write_people(tmp_path / "many", photos=40)  # ten chunks
    make(many)
    head = dict(num_cpus=0, include_dashboard=False, object_store_memory=STORE)
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        nodes = [cluster.add_node(num_cpus=1, object_store_memory=STORE) for _ in range(2)]
        cluster.wait_for_nodes()
        told = []

        def tell(done, total):
            told.append((done, total))
            if done == 4:
                cluster.remove_node(nodes[1], allow_graceful=False)

        def on_ray(chunks, stage):
            run_chunks_on_ray(chunks, stage, address=cluster.address, tell=tell)

        done = make(many, to=tmp_path / "ray", runner=on_ray)
    finally:
        cluster.shutdown()
    assert told == [(k, 10) for k in range(1, 11)]
    assert done.kept == 80
    assert tree(tmp_path / "ray") == tree(out)
