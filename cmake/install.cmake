# Filled in with the libraries' install rules.
