"""The rehearsal lab: MISP hosts as containers of real parts; only MISP's own code is a stub."""
