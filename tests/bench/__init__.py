"""The product measured against limits and peers: `make bench`; each part can be run alone, as its docstring says."""
