"""The demonstration: two real llama.cpp servers with tiny random models, and the balancer."""
