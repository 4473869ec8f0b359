"""Elasticities by a sampler, for comparison; numpyro is no dependency of the project."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.infer import MCMC, NUTS


def elasticities(
    design: np.ndarray, log_quantity: np.ndarray, mask: np.ndarray, draws: int = 1000
) -> np.ndarray:
    """Draw from the posterior of a hierarchical model of the same form, with vague priors.

    Args:
        design: shape (S, T, K), column 1 the log price.
        log_quantity: shape (S, T).
        mask: shape (S, T).
        draws: how many, after as many of warm-up.

    Returns:
        Shape (draws, S).
    """
    S, _, K = design.shape
    segment, step = np.nonzero(mask)
    X, y = jnp.array(design[segment, step]), jnp.array(log_quantity[segment, step])
    level = float(y.mean())

    def model() -> Any:
        centre = jnp.zeros(K).at[0].set(level)
        mean = numpyro.sample("mean", dist.Normal(centre, 3).to_event(1))
        spread = numpyro.sample("spread", dist.HalfNormal(2 * jnp.ones(K)).to_event(1))
        factor = numpyro.sample("factor", dist.LKJCholesky(K, 2.0))
        z = numpyro.sample("z", dist.Normal(0, 1).expand([S, K]).to_event(2))
        b = numpyro.deterministic("b", mean + z @ (spread[:, None] * factor).T)
        centre_noise = numpyro.sample("centre_noise", dist.Normal(-1.5, 1))
        spread_noise = numpyro.sample("spread_noise", dist.HalfNormal(1))
        noise = numpyro.sample(
            "noise", dist.Normal(centre_noise, spread_noise).expand([S]).to_event(1)
        )
        fitted = (X * b[segment]).sum(axis=1)
        numpyro.sample("y", dist.Normal(fitted, jnp.exp(noise[segment])), obs=y)

    sampler = MCMC(
        NUTS(model, target_accept_prob=0.85),
        num_warmup=draws,
        num_samples=draws,
        progress_bar=False,
    )
    sampler.run(jax.random.PRNGKey(0))
    return np.asarray(sampler.get_samples()["b"])[:, :, 1]
