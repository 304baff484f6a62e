"""pomegranate's mixtures, which run on PyTorch and start from given parameters.

It logs the change of the log-likelihood and stops when that is below ``tol``: never, here.
"""

import numpy as np


def fit_gaussian(X, cell, max_iter, start):
    """Fit a mixture with full or diagonal covariances."""
    import torch
    from pomegranate.distributions import Normal
    from pomegranate.gmm import GeneralMixtureModel

    dtype = torch.float64 if X.dtype == np.float64 else torch.float32
    full = cell.covariance_type == "full"
    precisions = start["precisions_init"]
    covariances = np.linalg.inv(precisions) if full else 1 / precisions
    components = [
        Normal(
            torch.tensor(mean, dtype=dtype),
            torch.tensor(covariance, dtype=dtype),
            covariance_type=cell.covariance_type,
        )
        for mean, covariance in zip(start["means_init"], covariances, strict=True)
    ]
    priors = torch.tensor(start["weights_init"], dtype=dtype)
    model = GeneralMixtureModel(components, priors=priors, max_iter=max_iter, tol=-np.inf)
    return model.fit(torch.from_numpy(X))


def fit_bernoulli(X, weights, probabilities, max_iter):
    """Fit a mixture of independent Bernoulli features."""
    import torch
    from pomegranate.distributions import Bernoulli
    from pomegranate.gmm import GeneralMixtureModel

    components = [Bernoulli(torch.tensor(p)) for p in probabilities]
    priors = torch.tensor(weights)
    model = GeneralMixtureModel(components, priors=priors, max_iter=max_iter, tol=-np.inf)
    return model.fit(torch.from_numpy(X))
