"""Analysis of a search among recurrent networks: trials, effects of hyper-parameters, charts."""
