"""How well an attribute of records was inferred, and how much of it needed the model.

References:
    Jayaraman and Evans (2022). Are Attribute Inference Attacks Just Imputation? CCS.
"""

from __future__ import annotations

import numpy as np

from harness.metrics.two_sides import check_two

# scikit-learn is imported where it is used: it takes longer to start than all else here.

TOP = 100
"""Records that the attacker is most sure of; Jayaraman and Evans look at 10, 50 and 100."""


def auc(scores: np.ndarray, truth: np.ndarray) -> float:
    """Mean, over the values that some record has, of the AUC of this value against all others.

    Args:
        scores: (n, values), larger means more likely.
        truth: (n,) int, of at least two values.

    Raises:
        NotApplicableError: All have one value.
    """
    from sklearn.metrics import roc_auc_score

    check_two(truth, "an AUC", "records of two values")

    found = [roc_auc_score(truth == value, scores[:, value]) for value in np.unique(truth)]
    return float(np.mean(found))


def balanced_accuracy(scores: np.ndarray, truth: np.ndarray) -> float:
    """Mean of the values' recall, where a record is given the value that it has most of.

    Each value's score is divided by its mean over all records first. Where nine in ten people are
    of one race, the likeliest race of almost everybody is that one, whatever a model gives away.

    Args:
        scores: (n, values), each row sums to 1.
        truth: (n,) int, of at least two values.

    Raises:
        NotApplicableError: All have one value.
    """
    check_two(truth, "a balanced accuracy", "records of two values")
    called = (scores / np.maximum(scores.mean(0), np.finfo(scores.dtype).tiny)).argmax(1)
    return float(np.mean([(called[truth == value] == value).mean() for value in np.unique(truth)]))


def ppv_at(scores: np.ndarray, positive: np.ndarray, k: int) -> float:
    """Share of positives among the ``k`` largest scores; ties there are broken at random.

    Args:
        scores: (n,).
        positive: (n,) bool.
        k: At least 1; of fewer records all are taken.
    """
    k = min(k, len(scores))
    last = np.partition(scores, -k)[-k]
    above, level = scores > last, scores == last
    hits = positive[above].sum() + (k - above.sum()) * positive[level].mean()
    return float(hits / k)


def attribute(
    scores: np.ndarray, imputed: np.ndarray, from_features: np.ndarray, truth: np.ndarray
) -> dict[str, float]:
    """Metrics of an attack on an attribute.

    Args:
        scores: (n, values), the attack's, each row sums to 1.
        imputed: (n, values), from what the attacker knows of each record without the model.
        from_features: (n, values), from all features of each record without the model.
        truth: (n,) int, of at least two values.

    Returns:
        ``auc`` and ``balanced_accuracy`` of the attack, chance is .5 and 1 / values.
        ``ppv_at_100``: among the 100 records that the attack is most sure have the rarest value,
        the share that have it; ``rarest_share`` is chance. All three again of the imputation with
        the prefix ``imputation_``. ``features_imputation_auc``. ``advantage``: twice the AUC above
        that of the imputation.

    Raises:
        NotApplicableError: All records have one value.
    """
    for given in (scores, imputed, from_features):
        if not np.isfinite(given).all():
            raise ValueError("attribute scores have to be finite")
    counts = np.bincount(truth)
    rarest = int(np.where(counts > 0, counts, len(truth) + 1).argmin())
    metrics = {
        prefix + name: value
        for prefix, given in (("", scores), ("imputation_", imputed))
        for name, value in (
            ("auc", auc(given, truth)),
            ("balanced_accuracy", balanced_accuracy(given, truth)),
            (f"ppv_at_{TOP}", ppv_at(given[:, rarest], truth == rarest, TOP)),
        )
    }
    return metrics | {
        "features_imputation_auc": auc(from_features, truth),
        "advantage": 2 * (metrics["auc"] - metrics["imputation_auc"]),
        "rarest_share": counts[rarest] / len(truth),
    }


def memorised(
    scores: np.ndarray,
    imputed: np.ndarray,
    truth: np.ndarray,
    member: np.ndarray,
    counted: np.ndarray,
) -> dict[str, float | None]:
    """What an attack finds out of members, and how much more that is than of others.

    Args:
        scores: (n, values), the attack's.
        imputed: (n, values), from what the attacker knows of each record without the model.
        truth: (n,) int.
        member: (n,) bool, what was trained on.
        counted: (n,) bool, the others that members are compared with.

    Returns:
        ``member_auc``, ``member_imputation_auc``, and ``member_advantage``: twice the difference of
        the two. ``memorised_advantage``: how far this is above the same of the others that count.
        None where a side's records all have one value.
    """

    def both(rows: np.ndarray) -> tuple[float, float] | None:
        if len(np.unique(truth[rows])) < 2:
            return None
        return auc(scores[rows], truth[rows]), auc(imputed[rows], truth[rows])

    found, others = both(member), both(counted & ~member)
    advantage = None if found is None else 2 * (found[0] - found[1])
    return {
        "member_auc": found and found[0],
        "member_imputation_auc": found and found[1],
        "member_advantage": advantage,
        "memorised_advantage": (
            None if advantage is None or others is None
            else advantage - 2 * (others[0] - others[1])
        ),
    }  # fmt: skip
