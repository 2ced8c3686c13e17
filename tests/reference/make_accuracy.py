"""Make accuracy.npz with scikit-learn.

Needs an environment apart from the project's: Python 3.11, scikit-learn 1.9.1, numpy 2.4.6.

    SKLEARN/bin/python tests/reference/make_accuracy.py

README.md here lists every array.
"""

from pathlib import Path

import numpy as np
from sklearn import metrics

CLASSES, EXAMPLES, MISSING = 7, 300, 4  # class 4 is predicted but never true


def main() -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice([c for c in range(CLASSES) if c != MISSING], EXAMPLES).astype(np.int32)
    logits = rng.standard_normal((EXAMPLES, CLASSES), np.float32)
    logits[np.arange(EXAMPLES), labels] += 1
    predictions = logits.argmax(axis=1).astype(np.int32)
    classes = np.arange(CLASSES)
    np.savez_compressed(
        Path(__file__).parent / "accuracy.npz",
        labels=labels,
        logits=logits,
        predictions=predictions,
        confusion=metrics.confusion_matrix(labels, predictions, labels=classes),
        top1=metrics.accuracy_score(labels, predictions),
        recall=metrics.recall_score(
            labels, predictions, labels=classes, average=None, zero_division=np.nan
        ),
        top_k=np.array(
            [metrics.top_k_accuracy_score(labels, logits, k=k, labels=classes) for k in (1, 2, 3)]
        ),
    )


if __name__ == "__main__":
    main()
