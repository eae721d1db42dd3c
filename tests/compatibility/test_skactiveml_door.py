"""The query strategy for scikit-activeml, beside that package's own strategies."""

import numpy as np
import pytest
from conftest import random_log_probs

from alkbald.acquisition import batchbald, kbald

pytest.importorskip("skactiveml", reason="needs scikit-activeml: pip install 'alkbald[doors]'")

from skactiveml.base import SkactivemlClassifier
from skactiveml.classifier import MixtureModelClassifier, ParzenWindowClassifier, SklearnClassifier
from skactiveml.pool import BatchBALD, GreedyBALD
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.ensemble import RandomForestClassifier

from alkbald.compatibility.skactiveml import BatchQuery

X, TRUTH = make_blobs(40, centers=3, cluster_std=3.0, random_state=0)
Y = np.full(40, np.nan)
Y[:12] = TRUTH[:12]
#: Their probabilities are far from 0, where the peer clips them.
PARZEN = [ParzenWindowClassifier(classes=[0, 1, 2], metric_dict={"gamma": g}) for g in (0.01, 0.03, 0.1, 0.3)]
FOREST = SklearnClassifier(RandomForestClassifier(10, max_depth=3, random_state=0), classes=[0, 1, 2])
CANDIDATES = [None, np.array([30, 5, 17, 22, 39]), np.random.default_rng(0).normal(size=(9, 2)) * 5]


class Given(SkactivemlClassifier):
    """Gives the predictions [K, N, C] that it was made of."""

    def __init__(self, probs):
        super().__init__(classes=range(probs.shape[2]))
        self.probs = probs

    def fit(self, X, y):
        return self

    def predict_proba(self, X):
        return self.probs.mean(0)

    def sample_proba(self, X):
        return self.probs


@pytest.mark.parametrize("candidates", CANDIDATES, ids=["unlabelled", "indices", "inputs"])
@pytest.mark.parametrize("ensemble", [PARZEN, FOREST], ids=["list", "forest"])
@pytest.mark.parametrize(("method", "peer"), [("batchbald", BatchBALD(n_MC_samples=10_000)), ("bald", GreedyBALD())])
def test_utilities_are_the_peers(method, peer, ensemble, candidates):
    options = {"candidates": candidates, "batch_size": 4, "return_utilities": True}
    indices, utilities = BatchQuery(method).query(X, Y, ensemble, **options)
    _, expected = clone(peer).query(X, Y, ensemble, **options)
    # The peer breaks ties at random: its first row has none of the past, the others follow its own picks.
    np.testing.assert_allclose(utilities[0], expected[0], atol=1e-5)
    np.testing.assert_allclose(utilities[range(4), indices], np.nanmax(utilities, axis=1), atol=1e-9)
    np.testing.assert_allclose(np.nanmax(utilities, axis=1), np.nanmax(expected, axis=1), atol=1e-5)


def test_indices_are_the_peers_where_nothing_is_tied():
    ours = BatchQuery().query(X, Y, PARZEN, batch_size=5)
    theirs = BatchBALD(n_MC_samples=10_000).query(X, Y, PARZEN, batch_size=5)
    assert ours.tolist() == theirs.tolist()


def test_utilities_are_the_scores_of_the_batch():
    log_probs = random_log_probs(40, 8, 3)
    strategy = BatchQuery(sample_predictions_method_name="sample_proba", options={"max_particles": 2000})
    given = Given(log_probs[12:].exp().transpose(0, 1).numpy())
    indices, utilities = strategy.query(X, Y, given, fit_ensemble=False, batch_size=6, return_utilities=True)
    batch = batchbald(log_probs[12:], 6)
    assert indices.tolist() == [12 + n for n in batch.indices]
    assert utilities[range(6), indices] == pytest.approx(batch.scores, abs=1e-6)
    assert np.isnan(utilities[:, :12]).all()
    assert np.isnan(utilities[5, indices[:5]]).all()


def test_methods_get_their_options_and_the_random_state():
    log_probs = random_log_probs(28, 8, 3)
    given = Given(log_probs.exp().transpose(0, 1).numpy())
    options = {"fit_ensemble": False, "batch_size": 5}
    strategy = BatchQuery("kbald", {"order": 3}, sample_predictions_method_name="sample_proba")
    assert strategy.query(X, Y, given, **options).tolist() == [12 + n for n in kbald(log_probs, 5, order=3).indices]
    drawn = [
        BatchQuery("power_bald", sample_predictions_method_name="sample_proba", random_state=seed)
        .query(X, Y, given, **options)
        .tolist()
        for seed in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_classifier_that_samples_is_a_committee():
    strategy = BatchQuery(sample_predictions_method_name="sample_proba", sample_predictions_dict={"n_samples": 20})
    mixture = MixtureModelClassifier(classes=[0, 1, 2], random_state=0, class_prior=1.0)
    indices = strategy.query(X, Y, mixture, batch_size=3)
    assert len(set(indices)) == 3
    assert np.isnan(Y[indices]).all()


def test_sample_weights_reach_the_fit_and_ensembles_stay_as_they_were():
    weights = np.where(np.arange(40) < 6, 1.0, 1e-3)
    queried = [BatchQuery().query(X, Y, PARZEN, sample_weight=w, batch_size=5).tolist() for w in (None, weights)]
    assert queried[0] != queried[1]
    assert not any(hasattr(member, "classes_") for member in PARZEN)


def test_it_is_cloned_by_its_parameters():
    strategy = clone(BatchQuery("kbald", {"order": 2}, random_state=3))
    assert (strategy.method, strategy.options, strategy.random_state) == ("kbald", {"order": 2}, 3)


def test_fewer_candidates_than_the_batch_are_all_queried():
    with pytest.warns(UserWarning, match="larger than number of candidates"):
        assert sorted(BatchQuery().query(X, Y, PARZEN, candidates=[20, 30], batch_size=5)) == [20, 30]


def test_what_cannot_be_answered_is_refused():
    with pytest.raises(ValueError, match="2bald has not"):
        BatchQuery("2bald").query(X, Y, PARZEN, return_utilities=True)
    with pytest.raises(ValueError, match="method must be one of"):
        BatchQuery("positive_bald").query(X, Y, PARZEN)
    with pytest.raises(ValueError, match="different classes"):
        BatchQuery().query(X, Y, [PARZEN[0], ParzenWindowClassifier(classes=[0, 1, 2, 3])])
