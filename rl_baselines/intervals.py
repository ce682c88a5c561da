"""Student's t interval of a mean."""

import numpy as np
import scipy.stats


def student_interval(samples: np.ndarray, confidence: float = 0.95) -> tuple[float, float] | None:
    """Give mean -+ t(n - 1) * s / sqrt(n), s with ddof = 1.

    :param samples: float64, (n,)
    :param confidence: in (0, 1)
    :return: low and high; both the mean when all samples are equal; None for fewer than two, which say nothing about
        the spread
    """
    n_samples = len(samples)
    if n_samples < 2:
        return None
    mean, standard_error = float(samples.mean()), float(samples.std(ddof=1)) / n_samples**0.5
    half_width = float(scipy.stats.t.ppf((1 + confidence) / 2, n_samples - 1)) * standard_error
    return mean - half_width, mean + half_width
